"""How much GPU memory a training will take, from rows measured on an H200 (docs/benchmarks.md), and whether it fits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from wan22lora.dataset.predict import bucket_loads
from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.plan.weights import Weights, expert_weights
from wan22lora.spec.resolved import Expert, Spec

WEIGHTS_GIB = 13.95
"""The expert in 8 bits."""
BLOCK_GIB = 0.336
"""One of its 40 blocks."""
FIXED_GIB = 1.43
"""LoRA of rank 16, its optimizer, and what does not grow with the picture."""
TOKEN_GIB = 1.0013 / 1024
"""Activations with gradient checkpointing, per token of the batch."""
LOAD_GIB = 40.35
"""Loading an fp16 file under `trainer: plain` without swapping: the 16-bit weights lie on the GPU while the 8-bit copy
is made. The extension casts tensor by tensor and takes 13.4 GiB then, less than any training."""
FILLED = 0.9
"""Share of the usable memory that ran well: 20.1 of 22.5 GiB did, 21.4 did not."""
MOST_BLOCKS = 38


def tokens(width: int, height: int, frames: int = 1) -> int:
    """Tokens of one picture or clip: the VAE takes 8×8 pixels and 4 frames together, the model 2×2 of those."""
    return (width // 16) * (height // 16) * ((frames - 1) // 4 + 1)


def peak_gib(batch_tokens: int, blocks_to_swap: int = 0) -> float:
    """Peak allocation in training, in GiB: fp8_base, gradient checkpointing, rank 16. Met every row to 0.02."""
    return WEIGHTS_GIB - BLOCK_GIB * blocks_to_swap + FIXED_GIB + TOKEN_GIB * batch_tokens


def loading_gib(spec: Spec, expert: Expert, weights: Mapping[str, Weights]) -> float:
    """What loading takes of the GPU where that is more than the training takes; else 0."""
    if spec.trainer == "extension" or expert.settings.blocks_to_swap:
        return 0.0
    return LOAD_GIB if expert_weights(weights, expert.name).facts.dtype == "fp16" else 0.0


def largest_batch(scans: Iterable[Scan]) -> int:
    """The tokens of the largest batch that a training will see."""
    return max(
        (
            tokens(*load.bucket) * min(scan.source.batch_size, load.count)
            for scan in scans
            for load in bucket_loads(scan)
        ),
        default=0,
    )


def memory_notes(spec: Spec, scans: Iterable[Scan], weights: Mapping[str, Weights]) -> Iterator[Finding]:
    """Warnings for a run that will probably not fit the card it is planned for."""
    if spec.usable_gib is None:
        return
    most = largest_batch(scans)
    for expert in spec.experts:
        settings = expert.settings
        if not settings.fp8_base or not settings.gradient_checkpointing or settings.gradient_checkpointing_cpu_offload:
            continue  # nothing was measured for these
        fits = FILLED * spec.usable_gib
        swapped = settings.blocks_to_swap or 0
        if peak_gib(most, swapped) > fits:
            yield _too_large(expert, most, swapped, fits, spec.hardware)
        elif spec.usable_gib < loading_gib(spec, expert, weights):
            yield Finding(
                expert.where("blocks_to_swap"),
                f"loading fp16 weights takes {LOAD_GIB:.0f} GiB on the GPU, more than a {spec.hardware} card has",
                "blocks_to_swap: 1 loads them in RAM (44 GB must be free)",
                level="warning",
            )


def _too_large(expert: Expert, most: int, swapped: int, fits: float, hardware: str) -> Finding:
    needed = math.ceil((peak_gib(most) - fits) / BLOCK_GIB)
    fix = "a smaller resolution, fewer frames or a smaller batch"
    if needed <= MOST_BLOCKS:
        fix = f"train: {{blocks_to_swap: {needed}}}, or {fix}"
    text = f"the largest batch will take about {peak_gib(most, swapped):.1f} GiB; {fits:.1f} GiB fit a {hardware} card"
    return Finding(expert.where("blocks_to_swap"), text, fix, level="warning")
