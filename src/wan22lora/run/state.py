"""What a run has come to: a fold over its ledger's events, for the live view, `status` and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from wan22lora.run.ledger import Event
from wan22lora.run.progress import Progress, SavedState, Validation

Status = Literal["waiting", "skipped", "running", "done", "failed", "outputs-wrong", "interrupted", "lost", "by-hand"]
"""`lost`: it was running when a later run began, so wan22lora itself was killed. `running` in a folder whose
lock nobody holds means the same. `by-hand`: a trainer tells of it that no run has started."""

_STATUSES = frozenset(get_args(Status))
_BEGINNINGS = ("weights-loaded", "training-begun")
"""What a trainer tells first, and its process only while it lives."""
_ENDS = {"training-ended": "ended", "training-stopped": "stopped", "training-failed": "failed"}


@dataclass(frozen=True)
class StepState:
    """One step as its latest events tell it."""

    id: str
    status: Status = "waiting"
    why: str = ""
    step: int = 0
    """Optimizer steps done."""
    total: int | None = None
    epoch: int | None = None
    """Counted from 1."""
    epochs: int | None = None
    loss: float | None = None
    """Of the last step; from musubi's own program an average."""
    recent_loss: float | None = None
    """The mean of the last 50 steps."""
    recent_preservation: float | None = None
    lr: float | None = None
    samples: int = 0
    """Pictures and clips that it was shown, repeats counted; 0 where the program does not say."""
    seconds_per_step: float | None = None
    loaded: bool = False
    """True once the training has begun: the weights are loaded."""
    state: SavedState | None = None
    """The newest."""
    validation: Validation | None = None
    """The last."""
    paused: str = ""
    """Why it waits; empty while it does not."""
    reason: str = ""
    """Of a training that failed, where its program names one: nan, out-of-memory, disk-full, wrong-musubi, not-fast,
    error."""
    ram_peak: int | None = None
    """Bytes, as are `gpu_peak` and `gpu_reserved`."""
    gpu_peak: int | None = None
    gpu_reserved: int | None = None
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
    adapted: str = ""
    """What is done otherwise than planned at first, and why."""
    heard: float | None = None
    """When one that was started by hand told its last, in unix seconds."""
    told_end: str = ""
    """How one that was started by hand says that it ended: ended, stopped, failed; empty where it did not say."""

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
    """The state after the given events (benchmarks/ledger.py measures it)."""
    folding = Folding()
    for event in events:
        folding.add(event)
    return folding.state()


@dataclass
class _Step:
    status: Status = "waiting"
    facts: dict[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)


class Folding:
    """The fold in progress, for a view that grows with a run."""

    def __init__(self) -> None:
        self._run: dict[str, Any] = {}
        self._planned: list[str] = []
        self._steps: dict[str, _Step] = {}
        self._before: tuple[dict[str, Any], dict[str, Status]] = ({}, {})
        """The run before this one, and what became of its steps."""
        self._adapted: dict[str, str] = {}
        self._adapted_next: dict[str, str] = {}
        self._handlers = {
            "adapted": self._told_of_adapting,
            "run-started": self._run_started,
            "step-skipped": self._step_skipped,
            "step-started": self._step_started,
            "step-ended": self._step_ended,
            "run-ended": self._run_ended,
        }

    def add(self, event: Event) -> None:
        """Take one event in. Unknown and malformed ones change nothing."""
        try:
            handler = self._handlers.get(event["event"])
            if handler is not None:
                handler(event)
                return
            step = self._steps.get(event["id"])
            if step is None or step.status not in ("running", "lost"):
                step = self._by_hand(event, step)
            step.progress.add(event)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
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

    def _told_of_adapting(self, event: Event) -> None:
        self._adapted_next[event["id"]] = str(event["text"])

    def _run_started(self, event: Event) -> None:
        planned = self._planned = [str(each) for each in event["steps"]]
        self._adapted, self._adapted_next = self._adapted_next, {}
        self._before = self._run, {step_id: step.status for step_id, step in self._steps.items()}
        self._run = {"name": str(event["name"]), "rehearsal": bool(event["rehearsal"]), "started": event["t"]}
        for step_id, step in self._steps.items():
            if step.status == "running":
                step.status = "lost"
            elif step.status != "lost" and step_id in planned:
                step.status = "waiting"
        before = self._steps
        self._steps = {step_id: before.get(step_id, _Step()) for step_id in planned}
        self._steps.update((step_id, step) for step_id, step in before.items() if step_id not in self._steps)

    def _step_skipped(self, event: Event) -> None:
        step = self._steps.setdefault(event["id"], _Step())
        step.status = "skipped"
        step.facts["why"] = str(event["why"])

    def _by_hand(self, event: Event, step: _Step | None) -> _Step:
        """The step of a trainer's event that comes while no run has it under way. Raises KeyError for another event
        of a step that nobody knows.
        """
        if event["event"] in _BEGINNINGS and (step is None or step.status != "by-hand"):
            earlier = step.progress if step is not None else None
            step = self._steps[event["id"]] = _Step("by-hand", progress=Progress(earlier=earlier))
        if step is None:
            raise KeyError(event["id"])
        if step.status == "by-hand":
            step.facts.update(heard=event["t"], told_end=_ENDS.get(event["event"], ""))
        return step

    def _step_started(self, event: Event) -> None:
        known = ("why", "pid", "pgid", "birth", "host", "log")
        facts = {key: event[key] for key in known if key in event}
        total = event.get("total")
        earlier = self._steps.get(event["id"], _Step()).progress
        if not earlier.begun and earlier.earlier is not None:
            earlier = earlier.earlier
        earlier.earlier = None
        progress = Progress(total=None if total is None else int(total), earlier=earlier)
        adapted = self._adapted.get(event["id"], "")
        self._steps[event["id"]] = _Step("running", {**facts, "started": event["t"], "adapted": adapted}, progress)

    def _step_ended(self, event: Event) -> None:
        step = self._steps[event["id"]]
        if event["outcome"] in _STATUSES:
            step.status = event["outcome"]
            step.facts.update(exit_code=event["exit_code"], ended=event["t"])

    def _run_ended(self, event: Event) -> None:
        self._run.update(outcome=str(event["outcome"]), ended=event["t"])
        run, statuses = self._before
        told = run or "by-hand" in statuses.values()
        if told and all(
            step.status == "skipped" or step_id not in self._planned for step_id, step in self._steps.items()
        ):
            # There was nothing to do: how the last run that did something ended is still what counts
            self._run = run or {key: self._run[key] for key in ("name", "rehearsal")}
            for step_id, status in statuses.items():
                self._steps[step_id].status = status


def _frozen(step_id: str, step: _Step) -> StepState:
    progress = step.progress
    if step.status == "waiting":  # what earlier runs made of it says nothing about this one
        return StepState(step_id)
    return StepState(
        id=step_id,
        status=step.status,
        step=progress.step,
        total=progress.total,
        epoch=progress.epoch,
        epochs=progress.epochs,
        loss=progress.loss,
        recent_loss=progress.recent_loss,
        recent_preservation=progress.recent_preservation,
        lr=progress.lr,
        samples=progress.samples,
        seconds_per_step=progress.pace.seconds_per_step,
        loaded=progress.begun,
        state=progress.state,
        validation=progress.validation,
        paused=progress.paused,
        reason=progress.reason,
        ram_peak=progress.ram_peak,
        gpu_peak=progress.gpu_peak,
        gpu_reserved=progress.gpu_reserved,
        checkpoints=tuple(progress.checkpoints),
        warnings=tuple(progress.warnings),
        **step.facts,
    )
