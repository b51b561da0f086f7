"""What a run has come to: a fold over its ledger's events, for the live view, `status` and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from wan22lora.run.ledger import Event
from wan22lora.run.pace import Pace

Status = Literal["waiting", "skipped", "running", "done", "failed", "outputs-wrong", "interrupted", "lost"]
"""`lost`: it was running when a later run began, so wan22lora itself was killed. `running` in a folder whose
lock nobody holds means the same."""

_STATUSES = frozenset(get_args(Status))


@dataclass(frozen=True)
class StepState:
    """One step as its latest events tell it."""

    id: str
    status: Status = "waiting"
    why: str = ""
    step: int = 0
    """Optimizer steps done."""
    total: int | None = None
    loss: float | None = None
    seconds_per_step: float | None = None
    started: float | None = None
    """Unix seconds, as is `ended`."""
    ended: float | None = None
    exit_code: int | None = None
    pid: int | None = None
    pgid: int | None = None
    birth: int | None = None
    host: str = ""
    log: str = ""
    checkpoints: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def seconds_left(self) -> float | None:
        """What is left of a training at its own recent pace."""
        if self.total is None or self.seconds_per_step is None:
            return None
        return max(self.total - self.step, 0) * self.seconds_per_step


@dataclass(frozen=True)
class RunState:
    """A run folder as its ledger tells it."""

    name: str = ""
    rehearsal: bool = False
    started: float | None = None
    """Of the latest run, in unix seconds, as is `ended`."""
    ended: float | None = None
    outcome: str = ""
    """Empty while it runs, or where it was killed."""
    steps: Mapping[str, StepState] = field(default_factory=dict)
    """In the order of the plan."""

    @property
    def unfinished(self) -> tuple[StepState, ...]:
        """Steps that were started and have no end in the ledger."""
        return tuple(step for step in self.steps.values() if step.status in ("running", "lost"))


def fold(events: Iterable[Event]) -> RunState:
    """The state after the given events; a million of them take about a second."""
    folding = Folding()
    for event in events:
        folding.add(event)
    return folding.state()


@dataclass
class _Step:
    status: Status = "waiting"
    facts: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    total: int | None = None
    loss: float | None = None
    pace: Pace = field(default_factory=Pace)
    checkpoints: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Folding:
    """The fold in progress, for a view that grows with a run."""

    def __init__(self) -> None:
        self._run: dict[str, Any] = {}
        self._steps: dict[str, _Step] = {}
        self._handlers = {
            "run-started": self._run_started,
            "step-skipped": self._step_skipped,
            "step-started": self._step_started,
            "train-step": self._train_step,
            "checkpoint": lambda event: self._steps[event["id"]].checkpoints.append(str(event["path"])),
            "warning": lambda event: self._steps[event["id"]].warnings.append(str(event["text"])),
            "step-ended": self._step_ended,
            "run-ended": self._run_ended,
        }

    def add(self, event: Event) -> None:
        """Take one event in. Unknown and malformed ones change nothing."""
        try:
            handler = self._handlers.get(event["event"])
            if handler is not None:
                handler(event)
        except (KeyError, TypeError, ValueError, OverflowError):
            return

    def state(self) -> RunState:
        return RunState(
            name=self._run.get("name", ""),
            rehearsal=self._run.get("rehearsal", False),
            started=self._run.get("started"),
            ended=self._run.get("ended"),
            outcome=self._run.get("outcome", ""),
            steps={step_id: _frozen(step_id, step) for step_id, step in self._steps.items()},
        )

    def _run_started(self, event: Event) -> None:
        planned = [str(each) for each in event["steps"]]
        self._run = {"name": str(event["name"]), "rehearsal": bool(event["rehearsal"]), "started": event["t"]}
        for step in self._steps.values():
            if step.status == "running":
                step.status = "lost"
        before = self._steps
        self._steps = {step_id: before.get(step_id, _Step()) for step_id in planned}
        self._steps.update((step_id, step) for step_id, step in before.items() if step_id not in self._steps)

    def _step_skipped(self, event: Event) -> None:
        step = self._steps.setdefault(event["id"], _Step())
        step.status = "skipped"
        step.facts["why"] = str(event["why"])

    def _step_started(self, event: Event) -> None:
        known = ("why", "pid", "pgid", "birth", "host", "log")
        facts = {key: event[key] for key in known if key in event}
        total = event.get("total")
        self._steps[event["id"]] = _Step(
            "running", {**facts, "started": event["t"]}, total=None if total is None else int(total)
        )

    def _train_step(self, event: Event) -> None:
        step = self._steps[event["id"]]
        loss, seconds, total = event["loss"], event["seconds"], event["total"]
        step.step = int(event["step"])
        step.total = None if total is None else int(total)
        step.loss = None if loss is None else float(loss)
        step.pace.add(None if seconds is None else float(seconds))

    def _step_ended(self, event: Event) -> None:
        step = self._steps[event["id"]]
        if event["outcome"] in _STATUSES:
            step.status = event["outcome"]
            step.facts.update(exit_code=event["exit_code"], ended=event["t"])

    def _run_ended(self, event: Event) -> None:
        self._run.update(outcome=str(event["outcome"]), ended=event["t"])


def _frozen(step_id: str, step: _Step) -> StepState:
    return StepState(
        id=step_id,
        status=step.status,
        step=step.step,
        total=step.total,
        loss=step.loss,
        seconds_per_step=step.pace.seconds_per_step,
        checkpoints=tuple(step.checkpoints),
        warnings=tuple(step.warnings),
        **step.facts,
    )
