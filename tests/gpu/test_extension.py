"""What the trainer extension adds must give the same figures under each of musubi's memory options."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from wan22lora.machine.nvidia import gpu_free_gib
from wan22lora.musubi.programs import TRAINER
from wan22lora.trainer.waiting import VARIABLE

WAYS = [
    "checkpointing",
    "offload",
    "swap 4",
    "swap 7",
    "swap 4, pinned",
    "stream 4",
    "stream 7, pinned",
]


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    ended = subprocess.run(
        [os.environ["WAN22LORA_MUSUBI_PYTHON"], Path(__file__).parent / "inside" / "ask_extension.py"],
        cwd=tmp_path_factory.mktemp("extension"),
        env={**os.environ, "PYTHONPATH": str(Path(os.environ["WAN22LORA_MUSUBI"]) / "src")},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("loads_to", ["cpu", "cuda"])
def test_weights_cast_by_the_gpu_are_those_of_stock_musubi_bit_for_bit(answer: dict[str, Any], loads_to: str) -> None:
    assert answer["weights"][loads_to]


def test_loading_needs_gpu_memory_for_the_cast_weights_only(answer: dict[str, Any]) -> None:
    stock, cast = (answer["weights"][f"{way} to cuda"] for way in ("stock", "cast"))
    assert cast["kept"] == pytest.approx(stock["kept"], rel=0.05)
    assert stock["peak"] > 2.5 * stock["kept"]
    assert cast["peak"] < 1.4 * cast["kept"]


def test_weights_bound_for_ram_pass_through_the_gpu_one_by_one(answer: dict[str, Any]) -> None:
    took = answer["weights"]["cast to cpu"]
    assert took["kept"] == 0
    assert took["peak"] < 0.4 * answer["weights"]["cast to cuda"]["kept"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("figure", ["preservation", "primary", "validation", "gradients"])
def test_a_memory_option_changes_no_figure(answer: dict[str, Any], figure: str, way: str) -> None:
    assert answer["ways"][way][figure] == pytest.approx(answer["ways"]["nothing"][figure], rel=2e-2, abs=1e-7)


def test_a_program_that_waits_for_its_turn_takes_nothing_of_the_gpu(tmp_path: Path) -> None:
    """It waits at its pipe, so it has not given up for having started CUDA."""
    free = gpu_free_gib()
    options = ["--ledger", tmp_path / "events.jsonl", "--states", tmp_path / "states", "--step_id", "train-high"]
    program = subprocess.Popen(
        [os.environ["WAN22LORA_MUSUBI_PYTHON"], str(TRAINER), *map(str, options), "--speed", "fast"],
        env={**os.environ, "PYTHONPATH": f"{os.environ['WAN22LORA_MUSUBI']}/src", VARIABLE: "1"},
        stdin=subprocess.PIPE,
    )
    try:
        end = time.monotonic() + 300
        while Path(f"/proc/{program.pid}/syscall").read_text().split()[:2] != ["0", "0x0"]:
            assert program.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        left = gpu_free_gib()
    finally:
        program.communicate()
    assert program.returncode == 0
    assert free is not None
    assert left is not None
    assert abs(free - left) < 0.05
