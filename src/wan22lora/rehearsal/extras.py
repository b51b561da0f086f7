"""What the trainer extension does beside training: preservation and validation, with plausible numbers."""

from __future__ import annotations

import math
import random
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wan22lora.rehearsal.loss import LossCurve
from wan22lora.rehearsal.training_items import Batch, Cached
from wan22lora.trainer.failing import TrainingFailed

_FARTHEST = 0.004
"""The preservation loss of a long training; at the start the LoRA changes nothing, and it is 0."""
_EASIEST_AND_HARDEST = (0.7, 1.3)
"""How the loss differs over an expert's timesteps: the least noise is the hardest to tell."""


class Preservation:
    """The loss on the captions of the class."""

    def __init__(self, args: Namespace) -> None:
        self._args = args

    def due(self, number: int) -> bool:
        """Whether the batch of this number, counted over all epochs, preserves."""
        drawn = random.Random(f"{self._args.seed} {number}").random()
        return number % self._args.preservation_every == 0 and drawn < float(self._args.preservation_probability)

    def loss(self, number: int, progress: float) -> float:
        noise = random.Random(f"preserved {self._args.seed}/{number}").lognormvariate(0, 0.2)
        return _FARTHEST * (1 - math.exp(-4 * progress)) * noise

    def check(self, batches: Iterable[Batch]) -> None:
        """Raises FileNotFoundError for class captions that were not cached."""
        files = {
            item.text.parent / self._args.preservation_folder / item.text.name for items in batches for item in items
        }
        missing = sorted(str(path) for path in files if not path.exists())
        if missing:
            more = f" and of {len(missing) - 1} more items" if len(missing) > 1 else ""
            raise FileNotFoundError(
                f"there is no cached class prompt {missing[0]}{more}: wan22lora cache --only-text makes them"
            )


class Validation:
    """The loss on the held-out items, the same noise at the same timesteps each time."""

    def __init__(self, args: Namespace, curve: LossCurve) -> None:
        self._args, self._curve = args, curve

    def due(self, step: int) -> bool:
        every: int = self._args.validate_every_steps
        return bool(every) and step % every == 0

    def run(self, progress: float) -> tuple[float, list[dict[str, Any]]]:
        """The loss, and that of each part of the expert's timesteps."""
        count = max(int(self._args.validation_timesteps), 1)
        low, high = self._args.min_timestep or 0, self._args.max_timestep or 1000
        edges = [low + (high - low) * index / count for index in range(count + 1)]
        easy, hard = _EASIEST_AND_HARDEST
        level = self._curve.level(progress)
        losses = [level * (hard + (easy - hard) * (index + 0.5) / count) for index in range(count)]
        bins = [{"low": edges[index], "high": edges[index + 1], "loss": losses[index]} for index in range(count)]
        return sum(losses) / count, bins


class HeldOut:
    """Items that are kept out of the training."""

    def __init__(self, args: Namespace) -> None:
        lines = Path(args.held_out).read_text(encoding="utf-8").splitlines() if args.held_out else []
        self._missing = set(filter(None, lines))
        self._names = frozenset(self._missing)

    def keeps(self, item: Cached) -> bool:
        """Whether the item is trained."""
        self._missing.discard(item.name)
        return item.name not in self._names

    def check(self, batches: Sequence[Batch]) -> None:
        """Raises TrainingFailed where an item was not there, or none is left."""
        if self._missing:
            text = f"no caches of the held-out items {', '.join(sorted(self._missing)[:3])}"
            raise TrainingFailed("error", text, "wan22lora cache makes the caches")
        if self._names and not batches:
            raise TrainingFailed("error", "every item is held out, and none is left to train on", "hold out fewer")
