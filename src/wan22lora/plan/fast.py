"""How much a training under `speed: fast` keeps for its backward pass, so that the GPU's memory suffices.

Fitted to rows of docs/benchmarks.md, measured on an H200 at rank 16 with fp8_base and gradient checkpointing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wan22lora.dataset.predict import bucket_loads
from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.plan.memory import FILLED, largest_batch
from wan22lora.spec.fast import left_to_musubi
from wan22lora.spec.resolved import Expert, Spec

FIXED_GIB = 14.59
"""Weights in 8 bits, LoRA, optimizer, and what does not grow with the picture."""
TOKEN_GIB = 6.075e-4
"""What a token of the batch takes with nothing kept but the blocks' inputs."""
BLOCKS, CHANNELS, FFN_CHANNELS, WORDS = 40, 5120, 13824, 512
"""Of a 14B expert (wan/configs/wan_t2v_A14B.py at v0.3.4); every caption is filled up to so many words."""
MEASURED_RANK = 16
LORA_NUMBERS, LORA_BYTES = 4_792_320, 16
"""Of each rank: its numbers, and what one takes with its gradient and AdamW's two values."""
LORA_MODULES = 400
"""Each keeps its inner result, as many numbers for a token as its rank."""
_GIB = 1024**3


@dataclass(frozen=True)
class Batch:
    """The largest that a training will see: tokens of all its items together, and the most items in one."""

    tokens: int
    items: int


@dataclass(frozen=True)
class Budget:
    """The share, 0 to 1, of what can be kept, with the reason in words."""

    share: float
    why: str
    fix: str = ""


def largest(scans: Iterable[Scan]) -> Batch:
    scans = list(scans)
    items = (min(scan.source.batch_size, load.count) for scan in scans for load in bucket_loads(scan))
    return Batch(largest_batch(scans), max(items, default=0))


def keepable_gib(batch: Batch) -> float:
    """What keeping everything takes: the stages of trainer/fast/keeping.py in 16 bits, of all blocks."""
    of_pictures = batch.tokens * (8 * CHANNELS + FFN_CHANNELS)
    of_captions = batch.items * WORDS * 2 * CHANNELS
    return BLOCKS * 2 * (of_pictures + of_captions) / _GIB


def fast_peak_gib(batch: Batch, share: float, rank: int = MEASURED_RANK) -> float:
    """Peak allocation under `speed: fast`, in GiB: 0 to 0.6 above every measured row; ranks above 16 are reckoned."""
    further = max(0, rank - MEASURED_RANK) * (LORA_NUMBERS * LORA_BYTES + batch.tokens * LORA_MODULES * 2) / _GIB
    return FIXED_GIB + TOKEN_GIB * batch.tokens + further + share * keepable_gib(batch)


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
    peak = fast_peak_gib(batch, share, rank)
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
    left = FILLED * usable_gib - fast_peak_gib(batch, 0.0, rank)
    return None if left < 0 else min(1.0, math.floor(100 * left / keepable_gib(batch)) / 100)
