"""How much a training under `speed: fast` keeps for its backward pass, so that the GPU's memory suffices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.plan.fast_memory import CONSTANTS, MEASURED_RANK, Batch, Kept, fast_peak_gib, keepable_gib, largest
from wan22lora.plan.memory import FILLED
from wan22lora.spec.fast import left_to_musubi
from wan22lora.spec.resolved import Expert, Spec


@dataclass(frozen=True)
class Budget:
    """The share, 0 to 1, of what can be kept, with the reason in words."""

    share: float
    why: str
    fix: str = ""


def budget_for(expert: Expert, batch: Batch, usable_gib: float | None) -> Budget:
    """The largest budget, in hundredths, that leaves a tenth of `usable_gib` free; 0 where nothing can be known."""
    settings = expert.settings
    if not settings.gradient_checkpointing:
        return Budget(0.0, "keeps everything, as nothing is computed again without gradient_checkpointing")
    rank = settings.rank or MEASURED_RANK
    if settings.blocks_to_swap:
        fits = settings.fp8_base and usable_gib is not None and _share(batch, rank, usable_gib) is not None
        fix = "train: {blocks_to_swap: 0}, which would fit" if fits else ""
        return Budget(0.0, "keeps of each block its input alone, since blocks are swapped", fix)
    if usable_gib is None:
        return Budget(
            0.0, "keeps of each block its input alone, as the GPU's memory is not known", "hardware: 24gb, 48gb or 80gb"
        )
    if not settings.fp8_base or not batch.tokens:
        return Budget(0.0, "keeps of each block its input alone, as nothing was measured without fp8_base")
    share = _share(batch, rank, usable_gib)
    if share is None:
        return Budget(0.0, f"keeps of each block its input alone: nothing more fits {usable_gib:g} GiB")
    peak = fast_peak_gib(CONSTANTS["fast"], batch, Kept(share), rank)
    return Budget(share, f"keeps {share:.0%} of what can be kept: {peak:.1f} of {usable_gib:g} GiB")


def fast_notes(spec: Spec, scans: Iterable[Scan]) -> Iterator[Finding]:
    """What was chosen for each expert that the fast path trains, and why."""
    batch = largest(scans)
    for expert in spec.experts:
        if spec.speed == "fast" and not any(left_to_musubi(expert)):
            budget = budget_for(expert, batch, spec.usable_gib)
            yield Finding(spec.where("speed"), f"speed: fast {budget.why}", budget.fix, level="note")


def _share(batch: Batch, rank: int, usable_gib: float) -> float | None:
    """None where not even the blocks' inputs fit."""
    left = FILLED * usable_gib - fast_peak_gib(CONSTANTS["fast"], batch, Kept(), rank)
    return None if left < 0 else min(1.0, math.floor(100 * left / keepable_gib(batch)) / 100)
