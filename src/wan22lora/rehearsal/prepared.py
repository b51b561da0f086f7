"""A training that is ready for its first step, and what both loops do alike."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from wan22lora.rehearsal.dataset_toml import Dataset
from wan22lora.rehearsal.metadata import Size
from wan22lora.rehearsal.session import Session
from wan22lora.rehearsal.training_items import Batch


@dataclass(frozen=True)
class Prepared:
    """What musubi's trainer has when its loop begins."""

    args: Namespace
    session: Session
    datasets: Sequence[Dataset]
    batches: list[Batch]
    """Of one epoch, always in the same order: nothing is shuffled here."""
    size: Size
    optimizer: str
    """Name and arguments, as the metadata show them."""
    dit_dtype: str

    @cached_property
    def workers(self) -> int:
        wanted: int = self.args.max_data_loader_n_workers
        return min(wanted, os.cpu_count() or 1)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Contents that a batch must have beside the latents (WT:670-690)."""
        task: str = self.args.task
        needed = ["latents_image"] if "i2v" in task or "flf2v" in task else []
        needed += ["clip"] if needed and "A14B" not in task else []
        return (*needed, "latents_control") if task.endswith("-FC") else tuple(needed)

    def announce_epoch(self, epoch: int) -> None:
        """Each worker of the data loader notices the new epoch in each dataset; workers that end forget it."""
        remembers = self.workers == 0 or self.args.persistent_data_loader_workers
        before = epoch - 1 if remembers else 0
        message = f"epoch is incremented. current_epoch: {before}, epoch: {epoch}"
        for _ in range(min(max(self.workers, 1), len(self.batches)) * len(self.datasets)):
            self.session.console.info("dataset", message)

    def samples_due(self, *, step: int | None = None, epoch: int | None = None) -> bool:
        every = self.args.sample_every_n_steps if epoch is None else self.args.sample_every_n_epochs
        count = step if epoch is None else epoch
        return every is not None and count is not None and count % every == 0
