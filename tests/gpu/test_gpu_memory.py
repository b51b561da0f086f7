"""Memory settings chosen for what is free on a GPU that other programs use, what happens where that was wrong, and how
much of a whole run's time the GPU trains.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import FullModels
from .test_full_size import ledger, wan22lora, write_run

SIZES = [*[(960, 960)] * 4, (832, 1104), (1104, 832)]
ROOT = Path(__file__).parents[2]
CONTEXT_GIB = 0.8
"""Of a training's own, which the plan leaves out of what is free."""
BALLAST = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
kept = torch.empty(int(free - float(sys.argv[1]) * 2**30), dtype=torch.uint8, device="cuda")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def others_leave(gib: float | None) -> Iterator[None]:
    """Another program holds all of the GPU but so much; None for no other program."""
    if gib is None:
        yield
        return
    python = os.environ["WAN22LORA_MUSUBI_PYTHON"]
    with subprocess.Popen(
        [python, "-c", BALLAST, str(gib)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield
        finally:
            other.communicate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, full_models: FullModels) -> Path:
    """A run whose caches are made."""
    place = tmp_path_factory.mktemp("memory")
    write_run(place, full_models, "auto", SIZES)
    wan22lora(place, full_models, "cache", "run.yaml")
    return place


def trained(place: Path, models: FullModels, *more: str) -> tuple[str, list[dict[str, Any]]]:
    """What was said, and the steps of the last process."""
    said, _ = wan22lora(place, models, "train", "run.yaml", "--only", "high", "--restart", *more)
    run = place / "runs" / "full"
    begun = ledger(run, "step-started")[-1]["t"]
    steps = [event for event in ledger(run, "train-step") if event["t"] > begun]
    pace = sorted(event["seconds"] for event in steps if event["seconds"] is not None)
    last = steps[-1]
    gib = {key: round(last[key] / 2**30, 2) for key in ("gpu_peak", "gpu_reserved")}
    print("pace", pace[len(pace) // 2], gib, "first", [event["seconds"] for event in steps[:5]])
    assert len(steps) == 12
    return said, steps


@pytest.mark.parametrize(
    ("usable", "choice"),
    [
        (None, "nothing is computed twice: about 56.6 of"),
        (44.0, "100% of what can be kept is kept: about 31.9 of"),
        (22.5, "of what can be kept is kept: about 20."),
        (15.0, "of 40 blocks wait in RAM: about 13."),
    ],
    ids=["alone", "44", "22.5", "15"],
)
def test_auto_fits_what_others_leave(place: Path, full_models: FullModels, usable: float | None, choice: str) -> None:
    with others_leave(None if usable is None else usable + CONTEXT_GIB):
        said, steps = trained(place, full_models)
    assert choice in said
    assert ledger(place / "runs" / "full", "adapted") == []
    assert usable is None or steps[-1]["gpu_reserved"] <= usable * 2**30


def test_a_wrong_estimate_steps_down_until_it_fits_and_is_not_repeated(place: Path, full_models: FullModels) -> None:
    run = place / "runs" / "full"
    text = (place / "run.yaml").read_text(encoding="utf-8")
    (place / "run.yaml").write_text(text.replace("hardware: auto", "hardware: 80gb"), encoding="utf-8")
    with others_leave(22.5 + CONTEXT_GIB):
        trained(place, full_models)
        tries = len(ledger(run, "adapted"))
        assert tries >= 2
        print([event["text"] for event in ledger(run, "adapted")], (run / "memory.json").read_text(encoding="utf-8"))
        started = len(ledger(run, "step-started"))
        said, _ = trained(place, full_models)
    assert "the memory ran out with more" in said
    assert len(ledger(run, "step-started")) == started + 1
    assert len(ledger(run, "adapted")) == tries


def test_the_gpu_trains_in_all_but_a_twentieth_of_a_run(tmp_path: Path, full_models: FullModels) -> None:
    """Kernels are there from the tests before."""
    run = write_run(tmp_path, full_models, "auto", SIZES)
    text = (tmp_path / "run.yaml").read_text(encoding="utf-8")
    (tmp_path / "run.yaml").write_text(text.replace("epochs: 2", "epochs: 10"), encoding="utf-8")
    wan22lora(tmp_path, full_models, "train", "run.yaml")
    script = [sys.executable, str(ROOT / "benchmarks" / "whole_run.py"), str(run), "1800"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    print([json.dumps(event) for event in ledger(run, "weights-loaded")])
    assert done.returncode == 0
