"""Folders of small pictures, and plans made from a run.yaml's text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.machine.settings import Machine
from wan22lora.plan.build import prepare
from wan22lora.plan.prepared import Prepared
from wan22lora.run.carry_out import read_history
from wan22lora.spec.load import load_spec


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eighteen pictures in three shapes, with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, size in enumerate([(96, 96)] * 8 + [(80, 112)] * 5 + [(112, 80)] * 5):
        Image.new("RGB", size, (index * 10, 90, 40)).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"paperworld, picture {index}\n", encoding="utf-8")
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which nothing is installed."""
    return Machine(
        musubi=tmp_path / "musubi-tuner",
        musubi_from="a test",
        python=tmp_path / "musubi-tuner" / ".venv" / "bin" / "python",
        models=tmp_path / "models",
        cpu_threads=7,
    )


@pytest.fixture
def plan(tmp_path: Path, pictures: Path, machine: Machine) -> Callable[..., Prepared]:
    """Prepares the run that a run.yaml's text describes."""

    def prepare_text(text: str, *, rehearsal: bool = False, force: frozenset[str] = frozenset()) -> Prepared:
        path = tmp_path / "run.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        spec = load_spec(path)
        return prepare(spec, machine, read_history(spec.folder), rehearsal=rehearsal, force=force)

    return prepare_text
