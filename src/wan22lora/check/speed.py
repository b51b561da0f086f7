"""How long a batch takes, where it was measured: rows of docs/benchmarks.md, and nothing between or beyond them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wan22lora.plan.memory import tokens
from wan22lora.plan.preservation_cost import times_as_long
from wan22lora.spec.resolved import Expert, Kept

MEASURED_ON = "one NVIDIA H200"
_STILLS, _CLIPS, _SMALL_CLIPS = tokens(960, 960), tokens(832, 480, 49), tokens(480, 272, 61)
SECONDS = {
    (_STILLS, 0): 1.11,
    (_STILLS, 1): 1.14,
    (_STILLS, 4): 1.13,
    (_STILLS, 10): 1.27,
    (_STILLS, 15): 1.33,
    (_STILLS, 20): 1.53,
    (_STILLS, 24): 1.55,
    (_STILLS, 30): 1.72,
    (_STILLS, 36): 2.04,
    (_CLIPS, 0): 7.67,
    (_CLIPS, 20): 7.73,
    (_SMALL_CLIPS, 30): 2.68,
    (_SMALL_CLIPS, 36): 2.76,
}
"""Tokens of a batch and blocks swapped → median seconds of a step of one batch: sdpa, rank 16, AdamW, fp8_base."""
FAST_SECONDS: Mapping[str, tuple[tuple[int, Kept, float], ...]] = {
    "fast": (
        (_STILLS, Kept(0.23), 0.544),
        (_STILLS, Kept(0.28), 0.541),
        (_STILLS, Kept(1.0), 0.449),
        (_STILLS, Kept(everything=True, cast_once=True), 0.417),
        (_CLIPS, Kept(0.15), 4.73),
    ),
    "max": (
        (_STILLS, Kept(0.22), 0.408),
        (_STILLS, Kept(0.24), 0.398),
        (_STILLS, Kept(1.0), 0.338),
        (_STILLS, Kept(everything=True, cast_once=True), 0.316),
        (_CLIPS, Kept(0.15), 3.94),
        (_CLIPS, Kept(0.19), 3.86),
    ),
}
"""By speed: tokens of a batch, what is kept, and the median seconds of such a step, with no block in RAM."""
FAST_SWAPPED_SECONDS = {(_STILLS, 24): 1.61, (_CLIPS, 22): 5.61}
"""As `SECONDS`, under `speed: fast`. What preservation adds there was not measured."""
_NEAR = 0.1
"""Share by which a batch may be smaller or larger than the measured one."""


def seconds_per_batch(expert: Expert, speed: str, batches: Sequence[int], *, clips: bool) -> float | None:
    """Seconds of a batch, preservation counted; None where nothing like it was measured. `batches` are in tokens.

    A training that keeps more than a measured one, and less than the next, is told to take as long as the first.
    """
    settings = expert.settings
    like = settings.fp8_base and not settings.gradient_checkpointing_cpu_offload
    if not like or settings.rank != 16 or (settings.optimizer or "").lower() != "adamw" or not batches:
        return None
    swapped = settings.blocks_to_swap or 0
    if speed == "reference" or swapped:
        table = SECONDS if speed == "reference" else {}
        if speed == "fast" and settings.preservation is None:
            table = FAST_SWAPPED_SECONDS
        rows = [row for row in table.items() if row[0][1] == swapped and settings.gradient_checkpointing]
        found = [seconds for (measured, _), seconds in rows if _near(batches, measured)]
    else:
        kept = _level(expert.kept)
        fast = [row for row in FAST_SECONDS.get(speed, ()) if _level(row[1]) <= kept]
        found = [seconds for measured, _, seconds in fast if _near(batches, measured)]
    return min(found) * (times_as_long(expert, clips=clips) or 1.0) if found else None


def _near(batches: Sequence[int], measured: int) -> bool:
    return all(abs(each - measured) <= _NEAR * measured for each in batches)


def _level(kept: Kept) -> tuple[bool, float]:
    return kept.everything, kept.share
