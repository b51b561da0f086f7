"""A loss that falls as a real one does: fast at first, then hardly, and noisy because every step draws a timestep."""

from __future__ import annotations

import math
import random
from argparse import Namespace

_HIGH = (0.17, 0.12)
_LOW = (0.085, 0.055)
"""Level at the start and after a long training. The high-noise expert's loss lies far above the other's."""


class LossCurve:
    """Seeded by `--seed` and the timestep range: the same command gives the same losses."""

    def __init__(self, args: Namespace) -> None:
        self._seed = f"{args.seed}/{args.min_timestep}/{args.max_timestep}"
        self._start, self._end = _HIGH if (args.min_timestep or 0) >= 500 else _LOW

    def at(self, progress: float, batch: int) -> float:
        """The loss of a batch, counted over all epochs, at `progress` from 0 to 1 of the training."""
        return self.level(progress) * random.Random(f"{self._seed}/{batch}").lognormvariate(0, 0.35)

    def level(self, progress: float) -> float:
        """What the losses are spread around."""
        return self._end + (self._start - self._end) * math.exp(-5 * progress)


class LossRecorder:
    """musubi's average: over the last loss of each batch of the epoch; once NaN, always NaN (train_utils.py:64-81)."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._total = 0.0

    def add(self, epoch: int, index: int, loss: float) -> None:
        if epoch == 0:
            self._losses.append(loss)
        else:
            self._losses += [0.0] * (index + 1 - len(self._losses))
            self._total -= self._losses[index]
            self._losses[index] = loss
        self._total += loss

    @property
    def average(self) -> float:
        return self._total / len(self._losses)
