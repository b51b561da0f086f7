"""What to say when a step fails, is wrong or is stopped: the cause, the last lines, the log, the command to type."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wan22lora.errors import Finding, Interrupted, OutputsWrong, StepFailed
from wan22lora.plan.model import Step
from wan22lora.run import wording
from wan22lora.run.process import ProcessResult
from wan22lora.run.stop import StopRequest
from wan22lora.run.transcript import Transcript

Diagnose = Callable[[str, int, Sequence[str]], Iterable[Finding]]
"""From a program's name, its exit code and its lines to causes that can be recognised."""

_LAST_LINES = 15
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


def step_failed(ended: Ended, diagnose: Diagnose | None) -> StepFailed:
    took = wording.duration(ended.result.seconds)
    return StepFailed(
        f"{ended.step.id} {_death(ended.result)} after {took}",
        findings=(*_causes(ended, diagnose), _last_lines(ended)),
        fix=_continue(ended.again),
    )


def outputs_wrong(ended: Ended, errors: Sequence[Finding], diagnose: Diagnose | None) -> OutputsWrong:
    return OutputsWrong(
        f"{ended.step.id} ended without an error, but what it should have written is missing or wrong",
        findings=(*errors, *_causes(ended, diagnose), _last_lines(ended)),
        fix=_continue(ended.again),
    )


def stopped_during(ended: Ended, stop: StopRequest, step: int) -> Interrupted:
    """`step` is the last optimizer step seen."""
    total = ended.step.predicted_steps
    at = f" at step {step} of {total}" if step and total else ""
    kept = (
        "What it encoded is kept."
        if ended.step.id.startswith("cache-")
        else "Its next start begins at step 1 and moves what it saved to previous/."
    )
    return Interrupted(
        f"Stopped during {ended.step.id}{at}. Nothing of it runs any more; finished steps are kept. {kept}",
        exit_code=stop.exit_code,
        fix=_continue(ended.again),
    )


def stopped_before(step: Step, stop: StopRequest, again: str) -> Interrupted:
    return Interrupted(
        f"Stopped before {step.id}. Finished steps are kept.",
        exit_code=stop.exit_code,
        fix=_continue(again),
    )


def _death(result: ProcessResult) -> str:
    if result.signal is None:
        return f"failed with exit code {result.exit_code}"
    try:
        name = signal.Signals(result.signal).name
    except ValueError:
        name = f"signal {result.signal}"
    return f"was killed by {name}"


def _causes(ended: Ended, diagnose: Diagnose | None) -> tuple[Finding, ...]:
    if diagnose is None:
        return ()
    return tuple(diagnose(ended.program, ended.result.exit_code, ended.transcript.lines))


def _last_lines(ended: Ended) -> Finding:
    lines = ended.transcript.last(_LAST_LINES)
    if not lines:
        return Finding(str(ended.log), "the program printed nothing")
    return Finding(
        str(ended.log), "\n".join(("the last lines of the log:", *(f"    {line[:_LINE_LENGTH]}" for line in lines)))
    )


def _continue(again: str) -> str:
    return f"to continue: {again}"
