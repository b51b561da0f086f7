"""Differential output preservation: what the LoRA must not change, it is taught with every picture.

Beside the caption of an item there is its class prompt, the caption with the trigger replaced by the class. With the
class prompt the LoRA is to predict what the model predicts without it. ai-toolkit has the idea
(extensions_built_in/sd_trainer/SDTrainer.py); here the two losses have a backward pass each, so that one graph is in
memory at a time.
"""

from __future__ import annotations

import random
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from musubi_tuner.dataset.bucket import BucketBatchManager
from musubi_tuner.utils.model_utils import remove_dtype_suffix
from safetensors.torch import load_file

from . import randomness
from .block_swap import forward_only


class Preservation:
    """Which batches preserve, and their loss."""

    def __init__(self, args: Namespace) -> None:
        self._folder = args.preservation_folder
        self._seed = args.seed
        self._every, self._probability = args.preservation_every, args.preservation_probability
        self.factor: float = args.preservation_weight * self._every / self._probability
        """What `loss` is multiplied with: batches that preserve weigh more when fewer of them do."""

    def attach(self, train_dataset_group: Any) -> None:
        """Have every batch bring its class prompts, as "t5_class".

        Belongs after held-out items are taken out and before the data loader starts. Raises FileNotFoundError where
        an item has no cached class prompt.
        """
        for dataset in train_dataset_group.datasets:
            batches = dataset.batch_manager
            dataset.batch_manager = _WithClassPrompts(
                batches.buckets, batches.batch_size, batches.num_timestep_buckets, folder=self._folder
            )

    def due(self, batches: int) -> bool:
        """Whether the batch preserves that comes after `batches` others, counted over all epochs."""
        if batches % self._every:
            return False
        return bool(random.Random(f"{self._seed} {batches}").random() < self._probability)

    def loss(
        self,
        trainer: Any,
        args: Namespace,
        accelerator: Any,
        transformer: Any,
        network: Any,
        batch: dict[str, Any],
        latents: torch.Tensor,
        noise: torch.Tensor,
        noisy_model_input: torch.Tensor,
        timesteps: torch.Tensor,
        network_dtype: torch.dtype,
    ) -> torch.Tensor:
        """How far the LoRA moves the prediction for the class prompts: a mean square in float32, with gradients.

        Its backward pass belongs before the next forward pass. Random states are as before, so that the batch's own
        loss is what it would be without preservation.
        """
        # Detached, because call_dit marks its inputs as requiring gradients, and the batch is used once more.
        class_batch = {key: value.detach() if torch.is_tensor(value) else value for key, value in batch.items()}
        class_batch["t5"] = batch["t5_class"]

        def predict() -> torch.Tensor:
            prediction: torch.Tensor = trainer.call_dit(
                args,
                accelerator,
                transformer,
                latents,
                class_batch,
                noise,
                noisy_model_input.detach(),
                timesteps,
                network_dtype,
            ).pred
            return prediction.float()

        before = randomness.capture()
        try:
            with torch.no_grad(), _without(network), forward_only(accelerator.unwrap_model(transformer)):
                prior = predict()
            return torch.nn.functional.mse_loss(predict(), prior)
        finally:
            randomness.restore(before)


@contextmanager
def _without(network: Any) -> Iterator[None]:
    """The model without its LoRA. musubi's set_enabled does nothing in training (networks/lora.py:138-175)."""
    multiplier = network.multiplier
    network.set_multiplier(0.0)
    try:
        yield
    finally:
        network.set_multiplier(multiplier)


class _WithClassPrompts(BucketBatchManager):
    """The batches of a dataset, with the class prompt of each item under "t5_class"."""

    def __init__(self, buckets: Any, batch_size: int, num_timestep_buckets: int | None, folder: str) -> None:
        super().__init__(buckets, batch_size, num_timestep_buckets=num_timestep_buckets)
        self._folder = folder
        missing = sorted({str(path) for items in buckets.values() for path in self._files(items) if not path.is_file()})
        if missing:
            more = f" and of {len(missing) - 1} more items" if len(missing) > 1 else ""
            raise FileNotFoundError(
                f"there is no cached class prompt {missing[0]}{more}: wan22lora cache --only-text makes them"
            )

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch: dict[str, Any] = super().__getitem__(index)
        bucket, number = self.bucket_batch_indices[index]
        items = self.buckets[bucket][number * self.batch_size : (number + 1) * self.batch_size]
        batch["t5_class"] = [_embedding(path) for path in self._files(items)]
        return batch

    def _files(self, items: list[Any]) -> list[Path]:
        captions = [Path(item.text_encoder_output_cache_path) for item in items]
        return [caption.parent / self._folder / caption.name for caption in captions]


def _embedding(path: Path) -> torch.Tensor:
    """The text embedding in a cache file, found as dataset/bucket.py:247-281 finds it."""
    for key, tensor in load_file(path).items():
        if remove_dtype_suffix(key.replace("varlen_", "")) == "t5":
            return tensor
    raise ValueError(f"{path} holds no text embedding: wan22lora cache --only-text makes it anew")
