"""The LoRA files: when they are written, their names, and which are removed; all as musubi does."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from musubi_tuner.utils import huggingface_utils, train_utils

from .disk import Disk, sha256_of, to_disk
from .ema import Average
from .events import Events
from .parts import Parts

Describe = Callable[[int, int], dict[str, str]]
"""From step and epoch to the metadata of a file."""


class Checkpoints:
    """Writes the LoRA of one training."""

    def __init__(self, parts: Parts, average: Average | None, describe: Describe, events: Events, disk: Disk) -> None:
        self._args: Namespace = parts.args
        self._accelerator, self._network, self._average = parts.accelerator, parts.lora, average
        self._describe, self._events, self._disk = describe, events, disk
        self._folder = Path(self._args.output_dir)
        self._dtype = train_utils.resolve_save_dtype(self._args.save_precision)

    def due_after_step(self, step: int) -> bool:
        every = self._args.save_every_n_steps
        return every is not None and step % every == 0

    def due_after_epoch(self, epoch: int, epochs: int) -> bool:
        """`epoch` counts from 1. The last one has the final file instead (trainer_base.py:2143)."""
        every = self._args.save_every_n_epochs
        return every is not None and epoch % every == 0 and epoch < epochs

    def after_step(self, step: int, epoch: int) -> None:
        self._save(train_utils.get_step_ckpt_name(self._args.output_name, step), step, epoch)
        old = train_utils.get_remove_step_no(self._args, step)
        if old is not None:
            self._remove(train_utils.get_step_ckpt_name(self._args.output_name, old))
        if self._args.save_state:
            train_utils.save_and_remove_state_stepwise(self._args, self._accelerator, step)

    def after_epoch(self, step: int, epoch: int) -> None:
        self._save(train_utils.get_epoch_ckpt_name(self._args.output_name, epoch), step, epoch)
        old = train_utils.get_remove_epoch_no(self._args, epoch)
        if old is not None:
            self._remove(train_utils.get_epoch_ckpt_name(self._args.output_name, old))
        if self._args.save_state:
            train_utils.save_and_remove_state_on_epoch_end(self._args, self._accelerator, epoch)

    def final(self, step: int, epochs: int) -> None:
        if self._args.save_state or self._args.save_state_on_train_end:
            train_utils.save_state_on_train_end(self._args, self._accelerator)
        self._save(train_utils.get_last_ckpt_name(self._args.output_name), step, epochs, last=True)

    def _save(self, name: str, step: int, epoch: int, *, last: bool = False) -> None:
        if not self._accelerator.is_main_process:  # of several processes the first one writes
            return
        path = self._folder / name
        told: dict[str, Any] = {"path": path, "sha256": self._write(path, step, epoch, last)}
        if self._average is not None:
            averaged = _averaged(path)
            with self._average.applied():
                told |= {"ema": averaged, "ema_sha256": self._write(averaged, step, epoch, last)}
        self._events.emit("checkpoint", step=step, epoch=epoch, **told)
        print(f"saved {path}", flush=True)

    def _write(self, path: Path, step: int, epoch: int, last: bool) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".writing-{path.name}")
        size = sum(each.numel() for each in self._network.parameters()) * torch.empty(0, dtype=self._dtype).itemsize

        def write() -> str:
            try:
                self._network.save_weights(str(aside), self._dtype, self._describe(step, epoch))
                to_disk(aside)
                digest = sha256_of(aside)
                aside.replace(path)
                to_disk(self._folder)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
            return digest

        digest = self._disk.write(path.name, size, self._folder, write)
        if self._args.huggingface_repo_id is not None:
            huggingface_utils.upload(self._args, str(path), f"/{path.name}", force_sync_upload=last)
        return digest

    def _remove(self, name: str) -> None:
        if not self._accelerator.is_main_process:
            return
        for path in (self._folder / name, _averaged(self._folder / name)):
            if path.exists():
                path.unlink()
                print(f"removed {path}", flush=True)


def _averaged(path: Path) -> Path:
    return path.with_name(f"{path.stem}-ema{path.suffix}")
