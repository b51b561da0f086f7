"""Latents and captions that are encoded at the same time are the files of two cachings one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.machine.ram import read_ram
from wan22lora.machine.settings import cpu_cores
from wan22lora.plan.caching_at_once import LEAST_CORES, RAM_BESIDE_T5

from .command_line import CommandLine, write_pictures
from .environment import SmallModels
from .test_environment import read_safetensors
from .test_pair import RUN

AT_ONCE = "hardware: 80gb\n"
AFTER_EACH_OTHER = f"{AT_ONCE}parallel: off\n"


@pytest.fixture
def wan22lora(tmp_path: Path, small_models: SmallModels, command_line: Callable[..., CommandLine]) -> CommandLine:
    ram = read_ram()
    if ram is None or ram.available < RAM_BESIDE_T5 + (2 << 30) or cpu_cores() < LEAST_CORES:
        pytest.skip(f"there is not the room, or there are not the {LEAST_CORES} cores, for both at once")
    write_pictures(tmp_path / "pictures", [(64, 64)] * 4 + [(48, 96)] * 2)
    for name, more in (("beside", AT_ONCE), ("after", AFTER_EACH_OTHER)):
        text = RUN.format(m=small_models).replace("name: paper", f"name: {name}")
        (tmp_path / f"{name}.yaml").write_text(more + text, encoding="utf-8")
    return command_line(tmp_path)


def order(place: Path, name: str) -> list[tuple[str, str]]:
    lines = (place / "runs" / name / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [(each["event"], each["id"]) for each in map(json.loads, lines) if each["event"].startswith("step-")]


def test_both_at_once_encode_what_each_encodes_alone(wan22lora: CommandLine, tmp_path: Path) -> None:
    for name in ("after", "beside"):
        cached = wan22lora("cache", f"{name}.yaml", "--force") if name == "beside" else wan22lora("cache", "after.yaml")
        assert cached.exit_code == 0, cached.output
    kinds = {name: [event for event, _ in order(tmp_path, name)] for name in ("after", "beside")}
    assert kinds["after"] == ["step-started", "step-ended"] * 2
    assert kinds["beside"] == ["step-started"] * 2 + ["step-ended"] * 2
    after, beside = (
        {path.name: read_safetensors(path) for path in (tmp_path / "runs" / name / "cache" / "0").glob("*.safetensors")}
        for name in ("after", "beside")
    )
    assert len(after) == 12
    assert after == beside
    again = wan22lora("cache", "beside.yaml")
    assert "nothing to do" in again.output
