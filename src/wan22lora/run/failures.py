"""What to say when a step fails, is wrong or is stopped: the cause, the last lines, the log, the command to type."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wan22lora.errors import Failure, Finding, Interrupted, MachineError, OutputsWrong, StepFailed
from wan22lora.musubi.diagnoses import ran_out_of_gpu_memory, without_launcher
from wan22lora.musubi.failure import Phase
from wan22lora.musubi.programs import TRAIN
from wan22lora.plan.model import Step, StepId
from wan22lora.plan.states import State
from wan22lora.run import wording
from wan22lora.run.account import Account, Cause
from wan22lora.run.process import ProcessResult
from wan22lora.run.stop import StopRequest
from wan22lora.run.transcript import Transcript

Diagnose = Callable[[str, int, Sequence[str]], Iterable[Finding]]
"""From a program's name, its exit code and its lines to causes that can be recognised."""

_LAST_LINES = 15
_ENDED_BY_FORCE = (128 + signal.SIGTERM, 128 + signal.SIGKILL)
"""What a program's end looks like that did not follow SIGINT (run/ending.py)."""
_LINE_LENGTH = 300
"""torch lists missing keys in lines of some 50,000 characters."""


@dataclass(frozen=True)
class Ended:
    """A process of a step that has ended, and what is known of it."""

    step: Step
    program: str
    result: ProcessResult
    log: Path
    transcript: Transcript
    again: str
    account: Account
    grace_seconds: float


class NotFast(MachineError):
    """A training that this machine cannot compute the fast way."""

    def __init__(self, step: StepId, told: Cause, *, fix: str, ran: Iterable[StepId] = ()) -> None:
        """`ran` are the steps that the run started."""
        super().__init__(
            f"{step} cannot be trained at this speed here", findings=(Finding("", told.text, told.fix),), fix=fix
        )
        self.step = step
        self.ran = frozenset(ran)
        self._told = told

    def of_a_run(self, ran: Iterable[StepId], fix: str) -> NotFast:
        """The same failure with the steps that the run started."""
        return NotFast(self.step, self._told, fix=fix, ran=ran)

    @property
    def in_one_line(self) -> str:
        """What it means where no speed was asked for."""
        return (
            f"{self._told.text}; musubi's own modules train, in about twice the time"
            f"{f' ({self._told.fix})' if self._told.fix else ''}"
        )


class OutOfMemory(StepFailed):
    """A training that the GPU's memory is too small for, under its present settings."""

    def __init__(
        self,
        step: StepId,
        phase: Phase,
        summary: str,
        *,
        findings: Iterable[Finding],
        fix: str,
        ran: Iterable[StepId] = (),
    ) -> None:
        super().__init__(summary, findings=findings, fix=fix)
        self.step = step
        self.phase = phase
        self.ran = frozenset(ran)
        """All steps that the run started."""

    def with_advice(self, advice: Finding) -> OutOfMemory:
        """The same failure with what to try next, behind its cause."""
        findings = (*self.findings[:1], advice, *self.findings[1:])
        return OutOfMemory(self.step, self.phase, self.summary, findings=findings, fix=self.fix, ran=self.ran)


def step_failed(ended: Ended, diagnose: Diagnose | None) -> Failure:
    """What to raise for a step that ended by itself, but not well: StepFailed, or MachineError for a wrong musubi."""
    told, took = ended.account.failed, wording.duration(ended.result.seconds)
    if told is not None and told.reason == "wrong-musubi":
        return MachineError(
            f"{ended.step.id} cannot train with this musubi-tuner",
            findings=(Finding("", told.text, told.fix),),
            fix=_continue(ended),
        )
    if told is not None and told.reason == "not-fast":
        return NotFast(ended.step.id, told, fix=_continue(ended))
    findings = (*_causes(ended, diagnose), _last_lines(ended))
    phase = _out_of_memory(ended)
    if phase is not None:
        when = {"loading": "while it loaded", "first step": "in its first step", "training": "in the midst of it"}
        text = f"the GPU's memory ran out for {ended.step.id} {when[phase]}, after {took}"
        return OutOfMemory(ended.step.id, phase, text, findings=findings, fix=_continue(ended))
    how = _death(ended.result) if told is None else f"failed{_at(ended, ended.account.reached)}"
    return StepFailed(f"{ended.step.id} {how} after {took}", findings=findings, fix=_continue(ended))


def together(failures: Sequence[Failure], again: str, ran: Iterable[StepId]) -> Failure:
    """One failure that tells all of a run's. `ran` are the steps that it started.

    It is of the kind that all of them are, else a StepFailed with the exit code of the first that nobody asked for.
    """
    first, *others = failures
    findings = [*first.findings]
    for each in others:
        findings += [Finding("", each.summary), *each.findings]
    fixes = dict.fromkeys(each.fix for each in failures if each.fix)
    fix = "".join(fixes) if len(fixes) < 2 else f"to continue: {again}"
    if isinstance(first, OutOfMemory) and all(isinstance(each, OutOfMemory) for each in others):
        return OutOfMemory(first.step, first.phase, first.summary, findings=findings, fix=fix, ran=ran)
    if isinstance(first, NotFast) and all(isinstance(each, NotFast) for each in others):
        return first.of_a_run(ran, fix)
    if not others:
        return first
    if all(isinstance(each, Interrupted) for each in failures):
        return Interrupted("\n".join(each.summary for each in failures), exit_code=first.exit_code, fix=fix)
    told = StepFailed(first.summary, findings=findings, fix=fix)
    told.exit_code = next(each.exit_code for each in failures if not isinstance(each, Interrupted))
    return told


def outputs_wrong(ended: Ended, errors: Sequence[Finding], diagnose: Diagnose | None) -> OutputsWrong:
    return OutputsWrong(
        f"{ended.step.id} ended without an error, but what it should have written is missing or wrong",
        findings=(*errors, *_causes(ended, diagnose), _last_lines(ended)),
        fix=_continue(ended),
    )


def stopped_during(ended: Ended, stop: StopRequest, step: int) -> Interrupted:
    """`step` is the last optimizer step seen."""
    if ended.step.id.startswith("cache-"):
        kept = "What it encoded is kept."
    elif ended.account.keeps_states:
        kept = _kept(ended, stop, step)
    else:
        kept = "Its next start begins at step 1 and moves what it saved to previous/."
    by = "" if stop.count else f" by {_signal_name(ended.result.exit_code - 128)} from outside"
    return Interrupted(
        f"Stopped during {ended.step.id}{_at(ended, step)}{by}. Nothing of it runs any more; finished steps are kept. "
        f"{kept}",
        exit_code=stop.exit_code if stop.count else ended.result.exit_code,
        fix=_continue(ended),
    )


def stopped_from_outside(ended: Ended) -> bool:
    """Whether somebody else than this program told the step's process to stop."""
    if ended.step.reports and ended.result.exit_code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        return True
    return ended.result.signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _kept(ended: Ended, stop: StopRequest, step: int) -> str:
    """Where the next start of a training with states goes on, and why not later."""
    state = ended.account.state
    if state is None:
        text = "No state of it is saved yet, so its next start begins at step 1."
    elif step <= state.step:
        return f"The state of step {state.step} is saved."
    else:
        again = f"steps {state.step + 1} to {step} are" if step > state.step + 1 else f"step {step} is"
        text = f"Its last state is of step {state.step}; {again} trained again."
    if ended.account.failed is not None:
        return f"{text} ({ended.account.failed.text})"
    if not ended.account.stopped and stop.count > 1:
        return f"It was ended at once. {text}"
    if not ended.account.stopped and stop.count and ended.result.exit_code in _ENDED_BY_FORCE:
        return f"It did not end within {wording.duration(ended.grace_seconds)} and was killed. {text}"
    return text


def _at(ended: Ended, step: int) -> str:
    total = ended.step.predicted_steps
    return f" at step {step} of {total}" if step and total else ""


def stopped_before(step: Step, stop: StopRequest, again: str) -> Interrupted:
    return Interrupted(
        f"Stopped before {step.id}. Finished steps are kept.",
        exit_code=stop.exit_code,
        fix=f"to continue: {again}",
    )


def _death(result: ProcessResult) -> str:
    if result.signal is None:
        return f"failed with exit code {result.exit_code}"
    return f"was killed by {_signal_name(result.signal)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _out_of_memory(ended: Ended) -> Phase | None:
    account = ended.account
    if account.failed is not None:
        if not account.out_of_memory:
            return None
        return "training" if account.trained else "first step" if account.begun else "loading"
    if ended.program != TRAIN:
        return None
    return ran_out_of_gpu_memory(ended.program, ended.result.exit_code, ended.transcript.lines)


def _causes(ended: Ended, diagnose: Diagnose | None) -> tuple[Finding, ...]:
    """What the program itself says, and only where that explains nothing what its output gives away."""
    told = ended.account.failed
    if told is not None and told.reason != "error":
        return (_told(told),)
    found = () if diagnose is None else diagnose(ended.program, ended.result.exit_code, ended.transcript.lines)
    return tuple(found) or (() if told is None else (_told(told),))


def _told(cause: Cause) -> Finding:
    fix = cause.fix
    if cause.reason == "out-of-memory" and not fix:
        fix = "is another program using the GPU (nvidia-smi)?"
    return Finding("cause", cause.text, fix)


def _last_lines(ended: Ended) -> Finding:
    lines = without_launcher(ended.transcript.lines)[-_LAST_LINES:]
    if not lines:
        return Finding(str(ended.log), "the program printed nothing")
    return Finding(
        str(ended.log), "\n".join(("the last lines of the log:", *(f"    {line[:_LINE_LENGTH]}" for line in lines)))
    )


def _continue(ended: Ended) -> str:
    state: State | None = ended.account.state
    if state is None and ended.account.reached:
        return f"to begin again at step 1: {ended.again}"
    if state is None or state.step >= state.total:
        return f"to continue: {ended.again}"
    return f"to continue at step {state.step + 1}: {ended.again}"
