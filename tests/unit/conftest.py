"""A dataset's folder, and the datasets that lie in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wan22lora.dataset.source import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dataset"
    made.mkdir()
    return made


@pytest.fixture
def images(folder: Path, tmp_path: Path) -> Callable[..., Source]:
    def make(**values: Any) -> Source:
        place = {"directory": folder, "jsonl": None, "cache": tmp_path / "cache", "resolution": (128, 128)}
        return Source(index=0, kind="images", **(place | values))

    return make


@pytest.fixture
def videos(folder: Path, tmp_path: Path) -> Callable[..., Source]:
    def make(**values: Any) -> Source:
        place = {"directory": folder, "jsonl": None, "cache": tmp_path / "cache", "resolution": (128, 128)}
        return Source(index=0, kind="videos", **(place | values))

    return make
