"""States: everything that a training needs to go on as if it had never stopped.

A state is a folder `step-00000120` with `state.pt` (tensors and numbers) and `state.json` (what a person or the command
line reads). It is written under another name, read back, and renamed: a folder with the right name is whole.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .disk import SPARE_BYTES, Disk, sha256_of, to_disk
from .failing import TrainingFailed
from .finding import FORMAT, Found, newest_state, superseded

_UNFINISHED = ".writing-"


class States:
    """The states of one training."""

    def __init__(self, folder: Path, keep_last: int, disk: Disk) -> None:
        self.folder, self._keep_last, self._disk = folder, max(keep_last, 1), disk

    def newest(self) -> Found | None:
        """The whole state of the highest step."""
        return newest_state(self.folder)

    def load(self, found: Found) -> dict[str, Any]:
        """The tensors and numbers, on the CPU. Raises TrainingFailed where the disk gives back other bytes."""
        file = found.path / "state.pt"
        if sha256_of(file) != found.facts["sha256"]:
            raise TrainingFailed(
                "error",
                f"the state {found.path} is damaged: its contents are not what was written",
                f"move {found.path} away; the training then continues from the state before it, if there is one",
            )
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=False)
        return content

    def save(self, content: Mapping[str, Any], facts: Mapping[str, Any]) -> Found:
        """Writes a state and removes the oldest ones. Raises TrainingFailed when the disk stays full."""
        self.folder.mkdir(parents=True, exist_ok=True)
        size = bytes_in(content)
        if shutil.disk_usage(self.folder).free < size + SPARE_BYTES:
            self._prune(1)
        found = self._disk.write("a state", size, self.folder, lambda: self._write(content, facts))
        self._prune(self._keep_last)
        return found

    def clear_unfinished(self) -> None:
        """Removes what a killed process was writing."""
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _write(self, content: Mapping[str, Any], facts: Mapping[str, Any]) -> Found:
        name = f"step-{facts['step']:08d}"
        aside = self.folder / f"{_UNFINISHED}{name}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir()
            file = aside / "state.pt"
            torch.save(dict(content), file)
            to_disk(file)
            told = {
                **facts,
                "format": FORMAT,
                "bytes": file.stat().st_size,
                "sha256": sha256_of(file),
                "saved": time.time(),
            }
            (aside / "state.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            to_disk(aside / "state.json")
            to_disk(aside)
            whole = self.folder / name
            if whole.exists():  # the same step, saved before the process was killed
                shutil.rmtree(whole)
            aside.rename(whole)
            to_disk(self.folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return Found(whole, told)

    def _prune(self, keep: int) -> None:
        for path in superseded(self.folder, keep):
            shutil.rmtree(path, ignore_errors=True)


def bytes_in(value: Any) -> int:
    """The bytes of all tensors in nested containers; what else is in a state is small."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(bytes_in, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(bytes_in, value))
    return 0
