"""How much GPU memory a training takes where the trainer computes the blocks itself, by what it keeps of them.

Constants are fitted to rows of docs/benchmarks.md, measured on an H200 at rank 16 with fp8_base.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wan22lora.dataset.scan import Scan
from wan22lora.plan.memory import BLOCK_GIB, largest_batch
from wan22lora.spec.resolved import Kept

BLOCKS, CHANNELS, FFN_CHANNELS, WORDS = 40, 5120, 13824, 512
"""Of a 14B expert (wan/configs/wan_t2v_A14B.py at v0.3.4); every caption is filled up to so many words."""
MEASURED_RANK = 16
LORA_NUMBERS, LORA_BYTES = 4_792_320, 16
"""Of each rank: its numbers, and what one takes with its gradient and AdamW's two values."""
SWAPPING_GIB = 2 * BLOCK_GIB
"""What a training with blocks in RAM takes more, however many they are; each then takes `BLOCK_GIB` less.

A block is computed again as a whole then (`in_blocks` in trainer/fast/making.py), and its forward pass leaves to its
backward pass, beside results, its weights cast to 16 bits. The results, 192 kB of a token by `everything`, are in
`Constants.token` already: 243 kB beside the blocks' inputs. One such training was measured: stills with 24 blocks, 9.15
GiB, for which this gives 9.4; musubi's modules took 10.7. Neither clips nor `max` were.
"""
LORA_MODULES = 400
"""Each keeps its inner result, as many numbers for a token as its rank."""
_GIB = 1024**3


@dataclass(frozen=True)
class Constants:
    """What one speed takes, in GiB."""

    fixed: float
    """Weights in 8 bits, LoRA, optimizer, and what does not grow with the picture."""
    token: float
    """What a token of the batch takes with nothing kept but the blocks' inputs."""
    everything: float
    """How many times `keepable_gib` it takes to keep all that the backward pass uses, without checkpointing."""
    cast: float | None
    """What the blocks' weights take more once they are cast, or transposed, for good; None where they never are."""


CONSTANTS: Mapping[str, Constants] = {
    "fast": Constants(fixed=14.59, token=6.075e-4, everything=1.75, cast=13.44),
    "max": Constants(fixed=14.30, token=6.075e-4, everything=1.76, cast=13.44),
}
"""By `speed`. Without checkpointing there is one row: of its 56.4 GiB, `cast` is reckoned (the blocks' weights are as
large again as in 8 bits), and the rest gives `everything`. What a token takes is fitted to a row of clips under `fast`,
and is enough for two under `max`."""


@dataclass(frozen=True)
class Batch:
    """The largest that a training will see: tokens of all its items together, and the most items in one."""

    tokens: int
    items: int


def largest(scans: Iterable[Scan]) -> Batch:
    scans = list(scans)
    items = (min(scan.source.batch_size, load.count) for scan in scans for load in scan.loads)
    return Batch(largest_batch(scans), max(items, default=0))


def keepable_gib(batch: Batch) -> float:
    """What keeping all that can be kept takes: the stages of trainer/fast/keeping.py in 16 bits, of all blocks."""
    of_pictures = batch.tokens * (8 * CHANNELS + FFN_CHANNELS)
    of_captions = batch.items * WORDS * 2 * CHANNELS
    return BLOCKS * 2 * (of_pictures + of_captions) / _GIB


def of_lora_gib(rank: int | None, batch: Batch) -> float:
    """What a LoRA of a higher rank than the measured one takes more, in GiB."""
    further = max(0, (rank or MEASURED_RANK) - MEASURED_RANK)
    return further * (LORA_NUMBERS * LORA_BYTES + batch.tokens * LORA_MODULES * 2) / _GIB


def fast_peak_gib(constants: Constants, batch: Batch, kept: Kept, blocks_to_swap: int = 0) -> float:
    """Peak allocation of a LoRA of rank 16, in GiB: 0 to 0.6 above every measured row."""
    least = constants.fixed + constants.token * batch.tokens
    least += SWAPPING_GIB - BLOCK_GIB * blocks_to_swap if blocks_to_swap else 0.0
    least += (constants.cast or 0.0) if kept.cast_once else 0.0
    return least + (constants.everything if kept.everything else kept.share) * keepable_gib(batch)
