"""The LoRA files as the trainer extension writes them: whole or not at all, with an event for each."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from wan22lora.rehearsal.checkpoints import Checkpoints, lora_shapes
from wan22lora.rehearsal.learned import Learned, tensor
from wan22lora.rehearsal.metadata import saved_metadata
from wan22lora.rehearsal.session import Session
from wan22lora.rehearsal.tensors import write_tiny
from wan22lora.trainer.disk import Disk, sha256_of
from wan22lora.trainer.events import Events


class ExtensionCheckpoints(Checkpoints):
    """Same names and arithmetic; beside each file the averaged one, if there is one."""

    def __init__(
        self,
        args: Namespace,
        session: Session,
        metadata: Mapping[str, str],
        dtype: str,
        *,
        weights: Learned,
        events: Events,
        disk: Disk,
    ) -> None:
        super().__init__(args, session, metadata, dtype)
        self.weights, self._events, self._disk = weights, events, disk

    def _save(self, name: str, step: int, epoch: int, *, final: bool = False) -> None:
        path = self._folder / name
        self._saved += 1
        told: dict[str, object] = {
            "path": path,
            "sha256": self._write(path, self.weights.digest, step, epoch, final=final),
        }
        if self._args.ema_decay:
            average = _averaged(path)
            told["ema"] = average
            told["ema_sha256"] = self._write(average, self.weights.averaged, step, epoch, final=final)
        self._events.emit("checkpoint", step=step, epoch=epoch, **told)
        print(f"saved {path}", flush=True)

    def _write(self, path: Path, digest_of_weights: str, step: int, epoch: int, *, final: bool) -> str:
        aside = path.with_name(f".writing-{path.name}")  # a folder, so that nothing stays of a process that was killed

        def write() -> str:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            try:
                metadata = saved_metadata(self._args, self._metadata, step, epoch)
                contents = partial(tensor, digest_of_weights)
                write_tiny(aside / path.name, lora_shapes(self._args), self._dtype, metadata, contents)
                digest = sha256_of(aside / path.name)
                self._session.faults.after_checkpoint(aside / path.name, self._saved, final=final)
                (aside / path.name).replace(path)
            finally:
                shutil.rmtree(aside)
            return digest

        return self._disk.write(path.name, 0, self._folder, write)

    def _remove(self, name: str) -> None:
        for path in (self._folder / name, _averaged(self._folder / name)):
            if path.exists():
                path.unlink()
                print(f"removed {path}", flush=True)


def _averaged(path: Path) -> Path:
    return path.with_name(f"{path.stem}-ema{path.suffix}")
