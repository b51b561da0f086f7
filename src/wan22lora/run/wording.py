"""How durations and the progress of a step read, the same in every view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wan22lora.run.ledger import Event
from wan22lora.run.progress import Bin, Validation
from wan22lora.run.state import StepState

GIB = 2**30
_BINS_AT_ONCE = 2
REHEARSAL = "REHEARSAL: stand-ins run instead of musubi-tuner, nothing is trained"


def duration(seconds: float) -> str:
    """`less than a second`, `42 s`, `12 min 3 s`, `2 h 5 min`, `1 d 4 h`: the two largest units."""
    if 0 < seconds < 1:
        return "less than a second"
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    if whole < 86400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "min")
    return _two(whole // 86400, "d", whole % 86400 // 3600, "h")


def position(step: StepState) -> str:
    """`120/300 (40%)`, or the bare number where the total is unknown."""
    if not step.total:
        return str(step.step)
    return f"{step.step}/{step.total} ({100 * step.step // step.total}%)"


def figures(step: StepState) -> str:
    """`loss 0.0796, preserving 0.0051, 2.94 s/step, 8 min 49 s left`, as far as they are known."""
    parts = []
    loss = step.loss if step.recent_loss is None else step.recent_loss
    if loss is not None:
        parts.append(f"loss {loss:.3g}")
    if step.recent_preservation is not None:
        parts.append(f"preserving {step.recent_preservation:.3g}")
    if step.seconds_per_step is not None:
        parts.append(f"{step.seconds_per_step:.3g} s/step")
    if step.seconds_left is not None:
        parts.append(f"{duration(step.seconds_left)} left")
    return ", ".join(parts)


def ending(step: StepState) -> str:
    """How a step ended: `done in 12 min 3 s`, `failed after 40 s (exit code 1)`."""
    if step.status == "by-hand":
        return f"was started by hand{f', {step.told_end}' if step.told_end else ''}"
    took = duration((step.ended or 0.0) - (step.started or 0.0))
    if step.status == "done":
        return f"done in {took}"
    if step.status == "outputs-wrong":
        return f"ended after {took}, but its files are missing or wrong"
    if step.status == "interrupted":
        return f"interrupted after {took}"
    return f"failed after {took}" + (f" (exit code {step.exit_code})" if step.exit_code is not None else "")


def ending_behind(step: StepState) -> str:
    """The same behind a word that says already what became of it: `in 12 min 3 s`, `after 40 s (exit code 1)`."""
    text = ending(step)
    return text if step.status == "outputs-wrong" else text.partition(" ")[2]


def told(event: Event) -> str | None:
    """A line about something that a trainer told of itself; None where there is nothing to show, or no sense in it."""
    try:
        teller = _TELLERS.get(event["event"])
        return None if teller is None else teller(event)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None


def bins(found: Iterable[Bin]) -> list[str]:
    """`875-891: 0.091` for each part of the timesteps."""
    return [f"{each.low:.0f}-{each.high:.0f}: {each.loss:.3g}" for each in found]


def validation(loss: float, parts: Sequence[Bin], most: int | None = None) -> str:
    """`0.0812 (875-906: 0.091, …, 969-1000: 0.052)`; of more than `most` bins only the first and the last."""
    shown = bins(parts)
    if most is not None and len(shown) > most:
        shown = [shown[0], "…", shown[-1]]
    return f"{loss:.4g} ({', '.join(shown)})" if shown else f"{loss:.4g}"


def validated(found: Validation) -> str:
    """`validation at step 100: 0.0812 (875-906: 0.091, …, 969-1000: 0.052)`."""
    return f"validation at step {found.step}: {validation(found.loss, found.bins, _BINS_AT_ONCE)}"


def gib(count: int) -> str:
    """Bytes as `18.2 GiB`."""
    return f"{count / GIB:.1f} GiB"


def silence(seconds: float, pid: int | None) -> str:
    """Said when a program has been quiet for long; that alone is no error."""
    return f"nothing printed for {duration(seconds)}; process {pid} is still running"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def _weights_loaded(event: Event) -> str:
    peaks = [f"{gib(event[key])} {what}" for key, what in _PEAKS if event.get(key)]
    return f"weights loaded in {duration(event['seconds'])}" + (f" ({', '.join(peaks)})" if peaks else "")


def _training_begun(event: Event) -> str | None:
    return None if event["state"] is None else f"continues after step {event['step']} of {event['total']}"


def _checkpoint(event: Event) -> str:
    verb = "saved" if event.get("sha256") else "saving"
    names = [Path(event["path"]).name, *(Path(path).name for path in [event.get("ema")] if path)]
    return f"{verb} {' and '.join(names)}"


def _samples(event: Event) -> str | None:
    count = len(event["paths"])
    return f"{count} sample{'' if count == 1 else 's'} at step {event['step']}" if count else None


def _validation(event: Event) -> str:
    parts = (Bin(float(each["low"]), float(each["high"]), float(each["loss"])) for each in event["bins"])
    return validated(Validation(event["step"], float(event["loss"]), tuple(parts)))


_PEAKS = (("ram_peak", "RAM"), ("gpu_peak", "GPU"))
_TELLERS: Mapping[str, Any] = {
    "weights-loaded": _weights_loaded,
    "training-begun": _training_begun,
    "checkpoint": _checkpoint,
    "samples": _samples,
    "state": lambda event: f"state saved at step {event['step']}",
    "validation": _validation,
    "paused": lambda event: f"paused: {event['text']}",
    "unpaused": lambda _: "goes on",
    "adapted": lambda event: str(event["text"]),
    "note": lambda event: str(event["text"]),
    "warning": lambda event: f"warning: {event['text']}",
}
