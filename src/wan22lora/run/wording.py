"""How durations and the progress of a step read, the same in every view."""

from __future__ import annotations

from wan22lora.run.state import StepState

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
    """`loss 0.0796, 2.94 s/step, 8 min 49 s left`, as far as they are known."""
    parts = []
    if step.loss is not None:
        parts.append(f"loss {step.loss:.3g}")
    if step.seconds_per_step is not None:
        parts.append(f"{step.seconds_per_step:.3g} s/step")
    if step.seconds_left is not None:
        parts.append(f"{duration(step.seconds_left)} left")
    return ", ".join(parts)


def ending(step: StepState) -> str:
    """How a step ended: `done in 12 min 3 s`, `failed after 40 s (exit code 1)`."""
    took = duration((step.ended or 0.0) - (step.started or 0.0))
    if step.status == "done":
        return f"done in {took}"
    if step.status == "outputs-wrong":
        return f"ended after {took}, but its files are missing or wrong"
    if step.status == "interrupted":
        return f"interrupted after {took}"
    return f"failed after {took}" + (f" (exit code {step.exit_code})" if step.exit_code is not None else "")


def silence(seconds: float, pid: int | None) -> str:
    """Said when a program has been quiet for long; that alone is no error."""
    return f"nothing printed for {duration(seconds)}; process {pid} is still running"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"
