"""How long a batch takes, where it was measured: rows of docs/benchmarks.md, and nothing between or beyond them."""

from __future__ import annotations

from collections.abc import Sequence

from wan22lora.plan.memory import tokens
from wan22lora.plan.preservation_cost import times_as_long
from wan22lora.spec.resolved import Expert

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
_NEAR = 0.1
"""Share by which a batch may be smaller or larger than the measured one."""


def seconds_per_batch(expert: Expert, batches: Sequence[int], *, clips: bool) -> float | None:
    """Seconds of a batch, preservation counted; None where nothing like it was measured. `batches` are in tokens."""
    settings = expert.settings
    like = settings.fp8_base and settings.gradient_checkpointing and not settings.gradient_checkpointing_cpu_offload
    if not like or settings.rank != 16 or (settings.optimizer or "").lower() != "adamw" or not batches:
        return None
    for (measured, swapped), seconds in SECONDS.items():
        near = all(abs(each - measured) <= _NEAR * measured for each in batches)
        if near and swapped == (settings.blocks_to_swap or 0):
            return seconds * (times_as_long(expert, clips=clips) or 1.0)
    return None
