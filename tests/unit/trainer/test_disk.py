"""What is said of a disk without room."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from wan22lora.trainer.disk import Disk
from wan22lora.trainer.events import Events
from wan22lora.trainer.failing import TrainingFailed
from wan22lora.trainer.stopping import Stop


@pytest.mark.parametrize(
    ("size", "free", "told"),
    [
        (120_000, 10_300_000, "it takes 0.1 MB, 67.1 MB are kept free beside it, and {} has 10.3 MB free"),
        (1_500_000_000, 1_510_000_000, "it takes 1.50 GB, 67.1 MB are kept free beside it, and {} has 1.51 GB free"),
    ],
)
def test_what_is_to_stay_free_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, free: int, told: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    disk = Disk(Events(tmp_path / "events.jsonl", "train-high"), Stop(), patience=0)
    with pytest.raises(TrainingFailed) as failed:
        disk.write("a state", size, tmp_path, lambda: None)
    assert str(failed.value) == f"no room for a state: {told.format(tmp_path)}"
