"""How many batches and optimizer steps musubi-tuner will make of the datasets, before it runs.

Source: training/trainer_base.py:1640-1643 and 1796-1797 at v0.3.4; d0a1930 counts alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from wan22lora.dataset.scan import Scan


def batches_per_epoch(scans: Iterable[Scan]) -> int:
    """Batches of one epoch over all datasets; a batch never mixes datasets or buckets."""
    return sum(load.batches for scan in scans for load in scan.loads)


def steps_per_epoch(batches: int, accumulation: int = 1, processes: int = 1) -> int:
    """Optimizer steps of one epoch; an accumulation that the end of the epoch cuts short counts as a step."""
    return math.ceil(batches / processes / accumulation)


def total_steps(
    batches: int,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    accumulation: int = 1,
    processes: int = 1,
) -> int:
    """Optimizer steps of a training; epochs win over steps, as in musubi-tuner.

    Raises ValueError where neither is given.
    """
    if epochs is not None:
        return epochs * steps_per_epoch(batches, accumulation, processes)
    if steps is None:
        raise ValueError("the length of a training is given in epochs or in steps")
    return steps


def epochs_of(batches: int, steps: int, accumulation: int = 1, processes: int = 1) -> int:
    """Epochs that a number of steps begins, the last perhaps cut short; 0 where nothing trains."""
    each = steps_per_epoch(batches, accumulation, processes)
    return math.ceil(steps / each) if each else 0
