"""A dataset's folder, and the datasets that lie in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from wan22lora.dataset import memory
from wan22lora.dataset.source import Source

settings.register_profile("any machine", deadline=None)  # how long one example takes says more of the machine
settings.load_profile("any machine")


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


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that the tests have only just written count as old."""
    monkeypatch.setattr(memory, "SETTLED", -60.0)


NOBODY = 65534


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """For root, whom no permission stops; what pytest calls tmp_path is closed to nobody too."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
