"""What the modules of the loop share."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parts:
    """What musubi hands to its loop, in its order (training/trainer_base.py:1769-1792 at v0.3.4)."""

    args: Namespace
    accelerator: Any
    session_id: int
    training_started_at: float
    train_dataset_group: Any
    train_dataloader: Any
    current_epoch: Any
    transformer: Any
    network: Any
    training_model: Any
    optimizer: Any
    optimizer_name: str
    optimizer_args: str
    optimizer_train_fn: Any
    optimizer_eval_fn: Any
    lr_scheduler: Any
    lr_descriptions: Any
    vae: Any
    sample_parameters: Any
    dit_dtype: Any
    network_dtype: Any

    @property
    def lora(self) -> Any:
        """The LoRA itself, without accelerate's wrapper."""
        return self.accelerator.unwrap_model(self.network)
