"""A pair whose programs were started before their turn gives the files of two that were not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wan22lora.machine.ram import read_ram
from wan22lora.run.waiting import ROOM

from .command_line import CommandLine, write_pictures
from .environment import SmallModels
from .test_environment import read_safetensors
from .test_pair import RUN

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def wan22lora(tmp_path: Path, small_models: SmallModels, command_line: Callable[..., CommandLine]) -> CommandLine:
    ram = read_ram()
    if ram is None or ram.available < ROOM + (1 << 30):
        pytest.skip("there is no room for a program that waits")
    write_pictures(tmp_path / "pictures", [(64, 64)] * 4 + [(48, 96)] * 2)
    for name in ("early", "late"):
        text = RUN.format(m=small_models).replace("name: paper", f"name: {name}")
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    return command_line(tmp_path)


def told(place: Path, name: str, event: str, step_id: str) -> list[dict[str, Any]]:
    lines = (place / "runs" / name / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [each for each in map(json.loads, lines) if each["event"] == event and each.get("id") == step_id]


def was_early(place: Path, name: str, step_id: str, before: str) -> bool:
    """Whether a step's process was born before the step before it had ended."""
    (first,) = told(place, name, "step-started", "cache-latents")
    (started,) = told(place, name, "step-started", step_id)
    (ended,) = told(place, name, "step-ended", before)
    born, end = first["t"] + (started["birth"] - first["birth"]) / TICKS, ended["t"]
    assert isinstance(born, float)
    assert isinstance(end, float)
    return born < end


def test_a_pair_that_was_started_early_gives_the_same_files(wan22lora: CommandLine) -> None:
    place = wan22lora.place
    for command in (
        ("train", "early.yaml"),
        ("cache", "late.yaml"),
        ("train", "late.yaml", "--only", "high"),
        ("train", "late.yaml", "--only", "low"),
    ):
        done = wan22lora(*command)
        assert done.exit_code == 0, done.output
    assert was_early(place, "early", "train-high", "cache-text")
    assert was_early(place, "early", "train-low", "train-high")
    for expert in ("high", "low"):
        early, late = (
            [event["loss"] for event in told(place, name, "train-step", f"train-{expert}")]
            for name in ("early", "late")
        )
        assert early == late
        assert len(early) == 12
        files = (
            read_safetensors(place / "runs" / name / "output" / f"{name}-{expert}.safetensors")[1]
            for name in ("early", "late")
        )
        assert next(files) == next(files)
