"""The loss on items that are kept out of the training, with the same noise and timesteps each time.

The loss of a training step says little: it depends more on the timestep drawn than on the LoRA. Here nothing is drawn,
so that two figures differ only because the LoRA does, and nothing of the training notices.
"""

from __future__ import annotations

import hashlib
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from musubi_tuner.dataset.bucket import BucketBatchManager

from . import randomness
from .block_swap import forward_only
from .failing import TrainingFailed
from .parts import Parts


@dataclass(frozen=True)
class Result:
    """Mean squares: over everything, and for each part of the expert's timesteps (low, high and loss)."""

    loss: float
    bins: list[dict[str, float]]
    seconds: float


@dataclass(frozen=True)
class _HeldOut:
    name: str
    item: Any
    """One cached picture, or one window of a clip."""

    def batch(self) -> dict[str, Any]:
        batch: dict[str, Any] = BucketBatchManager({self.item.bucket_size: [self.item]}, 1)[0]
        return batch

    def noise(self, seed: int, part: int, shape: torch.Size) -> torch.Tensor:
        digest = hashlib.sha256(f"{seed} {self.name} {part}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return torch.randn(shape, generator=generator)


class Validation:
    """Takes the items named in the file `--held_out` out of the training, and validates on them."""

    def __init__(self, args: Namespace) -> None:
        self._every_steps = args.validate_every_steps
        self._names = frozenset(Path(args.held_out).read_text(encoding="utf-8").splitlines()) - {""}
        self._held_out: list[_HeldOut] = []
        low = 0 if args.min_timestep is None else args.min_timestep
        high = 1000 if args.max_timestep is None else args.max_timestep
        width = (high - low) / args.validation_timesteps
        self._bins = [(low + n * width, low + (n + 1) * width) for n in range(args.validation_timesteps)]

    def split(self, train_dataset_group: Any) -> None:
        """Take the held-out items out of musubi's datasets, as if they had never been found there.

        Belongs right after the datasets are made. Raises TrainingFailed where an item is not there, or none is left.
        """
        held_out: dict[str, _HeldOut] = {}
        found: set[str] = set()
        for dataset in train_dataset_group.datasets:
            folder = Path(dataset.cache_directory).name
            left: dict[Any, list[Any]] = {}
            for bucket, items in dataset.batch_manager.buckets.items():
                for item in items:
                    name = f"{folder}/{item.item_key}"
                    if name in self._names:
                        found.add(name)
                        cache = f"{folder}/{Path(item.latent_cache_path).name}"
                        held_out[cache] = _HeldOut(cache, item)  # a repeated item is validated once
                    else:
                        left.setdefault(bucket, []).append(item)
            dataset.batch_manager = BucketBatchManager(
                left, dataset.batch_size, num_timestep_buckets=dataset.batch_manager.num_timestep_buckets
            )
            dataset.num_train_items = sum(map(len, left.values()))
        if missing := self._names - found:
            text = f"no caches of the held-out items {', '.join(sorted(missing)[:3])}"
            raise TrainingFailed("error", text, "wan22lora cache makes the caches")
        train_dataset_group.num_train_items = sum(each.num_train_items for each in train_dataset_group.datasets)
        train_dataset_group.cumulative_sizes = train_dataset_group.cumsum(train_dataset_group.datasets)
        if not train_dataset_group.num_train_items:
            raise TrainingFailed("error", "every item is held out, and none is left to train on", "hold out fewer")
        self._held_out = [held_out[cache] for cache in sorted(held_out)]

    def due(self, step: int) -> bool:
        """Whether to validate after this optimizer step."""
        return bool(self._held_out and self._every_steps) and step % self._every_steps == 0

    def run(self, trainer: Any, parts: Parts, network: Any, stop_requested: Callable[[], bool]) -> Result | None:
        """Validates the LoRA as it is, without dropout; None when asked to stop meanwhile.

        A forward pass for each item and part of the timesteps. The caller sees to the weights of optimizers that train
        with others than they evaluate with.
        """
        began = time.monotonic()
        losses: list[list[float]] = [[] for _ in self._bins]
        model = parts.accelerator.unwrap_model(parts.transformer)
        with torch.no_grad(), _undisturbed(network), forward_only(model):
            for held_out in self._held_out:
                batch = held_out.batch()
                latents = trainer.scale_shift_latents(batch["latents"].to(parts.accelerator.device, torch.float32))
                for part, (low, high) in enumerate(self._bins):
                    if stop_requested():
                        return None
                    noise = held_out.noise(parts.args.seed, part, latents.shape).to(latents.device)
                    losses[part].append(_loss(trainer, parts, batch, latents, noise, (low + high) / 2 / 1000))
        means = [fmean(each) for each in losses]
        bins = [{"low": low, "high": high, "loss": mean} for (low, high), mean in zip(self._bins, means, strict=True)]
        return Result(fmean(means), bins, round(time.monotonic() - began, 3))


def _loss(
    trainer: Any, parts: Parts, batch: dict[str, Any], latents: torch.Tensor, noise: torch.Tensor, t: float
) -> float:
    """The flow-matching loss at the time `t`, 0 to 1 (training/trainer_base.py:704-708 and 1183 at v0.3.4)."""
    noisy = (1 - t) * latents + t * noise
    timesteps = torch.full((latents.shape[0],), 1000 * t + 1, device=latents.device)
    output = trainer.call_dit(
        parts.args, parts.accelerator, parts.transformer, latents, batch, noise, noisy, timesteps, parts.network_dtype
    )
    return float(torch.nn.functional.mse_loss(output.pred.float(), output.target.float()))


@contextmanager
def _undisturbed(network: Any) -> Iterator[None]:
    """Without dropout in the LoRA, and with all random states as before in the end."""
    training = [module for module in network.modules() if module.training]
    before = randomness.capture()
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
        randomness.restore(before)
