"""A run as its ledger tells it, for a person to read and for a program."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wan22lora.run import wording
from wan22lora.run.progress import Validation
from wan22lora.run.state import RunState, StepState

_WIDTH = 80
_WORDS = {
    "skipped": "fresh",
    "outputs-wrong": "failed",
    "interrupted": "stopped",
    "lost": "killed",
    "by-hand": "by hand",
}
_FACT = " " * 11
_NAME = 12


def is_running(folder: Path) -> bool:
    """Whether a process holds the run's lock. It is asked for as one of many readers, and given back at once."""
    import fcntl

    try:
        with (folder / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def as_json(state: RunState, folder: Path, *, running: bool) -> dict[str, Any]:
    """Everything that is known, under the names of RunState and StepState; numbers that JSON has none for as text."""
    steps = []
    for step in state.steps.values():
        facts = {**asdict(step), "status": _status(step, running), "seconds_left": step.seconds_left}
        steps.append(_plain(facts))
    return {
        "name": state.name,
        "folder": str(folder),
        "rehearsal": state.rehearsal,
        "running": running,
        "outcome": _outcome(state, running),
        "started": state.started,
        "ended": state.ended,
        "steps": steps,
    }


def as_text(state: RunState, folder: Path, *, running: bool, now: float) -> str:
    """Lines of 80 columns at most, but for paths, which are never cut."""
    return "\n".join(_lines(state, folder, running=running, now=now))


def _lines(state: RunState, folder: Path, *, running: bool, now: float) -> Iterator[str]:
    kind = " (rehearsal)" if state.rehearsal else ""
    yield f"{state.name or folder.name}{kind}: {_headline(state, running, now)}"
    yield str(folder)
    for step in state.steps.values():
        training = step.id.startswith("train")
        if training or step is next(iter(state.steps.values())):
            yield ""
        status = _status(step, running)
        line = f"{_WORDS.get(status, status):<8} {step.id:<14} {_summary(step, status, now)}".rstrip()
        yield line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
        if training:
            yield from _facts(step, status, folder, now)


def _headline(state: RunState, running: bool, now: float) -> str:
    outcome = _outcome(state, running)
    if outcome == "by-hand":
        return "trained by hand, not by `wan22lora train`"
    began, end = (now if at is None else at for at in (state.started, state.ended))
    since = wording.duration(end - began)
    if outcome == "running":
        return f"running for {since}"
    if outcome == "killed":
        return "was killed; the same command goes on with it"
    ago = f"{wording.duration(now - state.ended)} ago" if state.ended is not None else "at some time"
    words = {"done": "finished", "failed": "failed", "interrupted": "was stopped"}
    return f"{words.get(outcome, outcome)} {ago}, after {since}"


def _outcome(state: RunState, running: bool) -> str:
    if not running and state.started is None and state.steps:
        return "by-hand"
    return "running" if running else state.outcome or "killed"


def _status(step: StepState, running: bool) -> str:
    return "lost" if step.status == "running" and not running else step.status


def _summary(step: StepState, status: str, now: float) -> str:
    if status in ("waiting", "skipped"):
        return " ".join(step.why.split())
    if status == "lost":
        return "was killed"
    if status == "by-hand":
        return f"{step.told_end or 'last heard of'} {wording.duration(now - (step.heard or now))} ago"
    if status == "running":
        return f"for {wording.duration(now - step.started)}" if step.started is not None else ""
    return wording.ending_behind(step)


def _facts(step: StepState, status: str, folder: Path, now: float) -> Iterator[str]:
    if status == "waiting":
        return
    if step.total is not None and (step.step or step.loaded):
        epoch = f", epoch {step.epoch}" + (f" of {step.epochs}" if step.epochs else "") if step.epoch else ""
        yield _fact("step", f"{wording.position(step)}{epoch}")
    loss = step.loss if step.recent_loss is None else step.recent_loss
    if loss is not None:
        kept = f", preserving {step.recent_preservation:.4g}" if step.recent_preservation is not None else ""
        rate = f", learning rate {step.lr:.3g}" if step.lr is not None else ""
        yield _fact("loss", f"{loss:.4g}{kept}{rate}")
    if step.seconds_per_step is not None:
        left = f", {wording.duration(step.seconds_left or 0)} left" if status == "running" else ""
        yield _fact("pace", f"{step.seconds_per_step:.3g} s/step{left}")
    if step.paused and status == "running":
        yield from _folded("paused", step.paused.split(), " ")
    if step.state is not None:
        gigabytes = (step.state.bytes or 0) / 1e9
        size = f", {gigabytes:.2f} GB" if gigabytes >= 0.01 else ""
        yield _fact("state", f"of step {step.state.step}, {wording.duration(now - step.state.at)} ago{size}")
    if step.validation is not None:
        yield from _validation(step.validation)
    memory = [
        f"{wording.gib(count)} of {what}"
        for count, what in ((step.gpu_peak, "GPU memory"), (step.ram_peak, "RAM"))
        if count  # a training on a CPU has none of the GPU's
    ]
    if memory:
        yield _fact("peaks", ", ".join(memory))
    if step.reason:
        yield _fact("failed", step.reason)
    saved = _without_averages(step.checkpoints)
    if saved:
        newest = Path(saved[-1])
        shown = newest.relative_to(folder) if newest.is_relative_to(folder) else newest
        more = f"{len(saved)}, the newest " if len(saved) > 1 else ""
        yield _fact("checkpoints", f"{more}{shown}")
    if step.adapted:
        yield from _folded("adapted", step.adapted.split(), " ")
    if step.warnings:
        yield _fact("warnings", f"{len(step.warnings)}, see {step.log or 'events.jsonl'}")


def _without_averages(checkpoints: Sequence[str]) -> list[str]:
    """Each without the `-ema` beside it."""
    beside = {str(path.with_name(f"{path.stem}-ema{path.suffix}")) for path in map(Path, checkpoints)}
    return [path for path in checkpoints if path not in beside]


def _validation(found: Validation) -> Iterator[str]:
    yield _fact("validation", f"{found.loss:.4g} at step {found.step}")
    yield from _folded("", wording.bins(found.bins), ", ")


def _folded(name: str, parts: Iterable[str], between: str) -> Iterator[str]:
    line = ""
    for part in parts:
        if line and len(_FACT) + _NAME + len(line) + len(between) + len(part) > _WIDTH - 1:
            yield _fact(name, f"{line}{between}".rstrip())
            line, name = part, ""
        else:
            line = f"{line}{between}{part}" if line else part
    if line:
        yield _fact(name, line)


def _fact(name: str, text: str) -> str:
    return f"{_FACT}{name:<{_NAME}}{text}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf"
    return value
