"""How much GPU memory a training by musubi's modules takes, from rows measured on an H200 (docs/benchmarks.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wan22lora.dataset.scan import Scan
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
PRESERVATION_GIB = 0.3
"""What preservation takes more: its passes come one after the other."""
LOAD_GIB = 40.35
"""Loading an fp16 file (one of bf16 is as large) under `trainer: plain` without swapping: the 16-bit weights lie on the
GPU while the 8-bit copy is made. The extension casts tensor by tensor and takes 13.4 GiB then, less than any training.
"""
FILLED = 0.9
"""Share of the usable memory that ran well: 20.1 of 22.5 GiB did, 21.4 did not."""
MOST_BLOCKS = 38


def tokens(width: int, height: int, frames: int = 1) -> int:
    """Tokens of one picture or clip: the VAE takes 8×8 pixels and 4 frames together, the model 2×2 of those."""
    return (width // 16) * (height // 16) * ((frames - 1) // 4 + 1)


def batches_in_tokens(scan: Scan) -> list[int]:
    """The tokens of each batch of an epoch."""
    found: list[int] = []
    for load in scan.loads:
        whole, rest = divmod(load.count, scan.source.batch_size)
        each = tokens(*load.bucket)
        found += [each * scan.source.batch_size] * whole + ([each * rest] if rest else [])
    return found


def peak_gib(batch_tokens: int, blocks_to_swap: int = 0) -> float:
    """Peak allocation in training, in GiB: fp8_base, gradient checkpointing, rank 16. Met every row to 0.02."""
    return WEIGHTS_GIB - BLOCK_GIB * blocks_to_swap + FIXED_GIB + TOKEN_GIB * batch_tokens


def loading_gib(spec: Spec, expert: Expert, weights: Mapping[str, Weights]) -> float:
    """What loading takes of the GPU where that is more than the training takes; else 0."""
    if spec.trainer == "extension" or expert.settings.blocks_to_swap:
        return 0.0
    return LOAD_GIB if expert_weights(weights, expert.name).facts.dtype in ("fp16", "bf16") else 0.0


def largest_batch(scans: Iterable[Scan]) -> int:
    """The tokens of the largest batch that a training will see."""
    return max(
        (tokens(*load.bucket) * min(scan.source.batch_size, load.count) for scan in scans for load in scan.loads),
        default=0,
    )
