"""What a training took becomes the forecast of the next, by the command line, with a stand-in for NVIDIA's library."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import SOURCE, Place
from .test_real_launch import expert, musubi  # noqa: F401

NVML = """
from types import SimpleNamespace
class NVMLError(Exception): pass
NVMLError_LibraryNotFound = NVMLError_DriverNotLoaded = type("A", (NVMLError,), {})
NVMLError_LibRmVersionMismatch = NVMLError_NoPermission = type("B", (NVMLError,), {})
def nothing(*_): raise NVMLError()
nvmlDeviceGetComputeRunningProcesses = nvmlDeviceGetGraphicsRunningProcesses = nothing
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlSystemGetCudaDriverVersion_v2(): return 13000
def nvmlSystemGetDriverVersion(): return "580.1"
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetMemoryInfo(_): return SimpleNamespace(total=80 << 30, free=79 << 30)
def nvmlDeviceGetCudaComputeCapability(_): return (9, 0)
def nvmlDeviceGetUUID(_): return "GPU-1"
def nvmlDeviceGetName(_): return "NVIDIA Paper 80GB"
"""


@pytest.fixture
def with_gpu(musubi: Place) -> Place:  # noqa: F811
    (musubi.path / "nvml").mkdir()
    musubi.write(NVML, "nvml/pynvml.py")
    musubi.environment["PYTHONPATH"] = os.pathsep.join([str(musubi.path / "nvml"), str(SOURCE)])
    expert(musubi.path / "wan2.2_t2v_low_noise_14B_fp16.safetensors")
    return musubi


def trainings(place: Place, run_file: str = "run.yaml") -> list[dict[str, Any]]:
    done = place.wan22lora("check", run_file, "--json")
    assert done.exit_code == 0, done.output
    told: list[dict[str, Any]] = json.loads(done.stdout)["forecast"]["trainings"]
    return told


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def train(place: Place, *argv: str, **env: str) -> str:
    done = place.wan22lora("train", *argv, env={"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.01", **env})
    assert done.exit_code == 0, done.output
    return done.output


def test_a_training_is_measured_and_the_next_forecast_says_so(with_gpu: Place) -> None:
    assert [each["measured"]["gpu"] for each in trainings(with_gpu)] == ["one NVIDIA H200"] * 2
    assert "on one NVIDIA H200, the GPU of docs/benchmarks.md" in " ".join(train(with_gpu, "run.yaml").split())
    own = trainings(with_gpu)
    for each in own:
        assert each["measured"]["gpu"] == "NVIDIA Paper 80GB"
        assert each["measured"]["run"] == "paper"
        assert 20 <= each["measured"]["steps"] <= 26
        assert 0.01 < each["seconds"] / each["steps"] < 0.5

    text = (with_gpu.path / "run.yaml").read_text(encoding="utf-8")
    with_gpu.write(text.replace("name: paper", "name: second").replace("epochs: 2", "epochs: 3"), "second.yaml")
    planned = with_gpu.wan22lora("train", "second.yaml", "--dry-run").stdout
    assert "# note: forecast: train-high and train-low: 54 steps take under a minute (0.0" in planned
    assert "measured on this kind of GPU (NVIDIA Paper 80GB) on 2" in planned
    assert [each["measured"]["run"] for each in trainings(with_gpu, "second.yaml")] == ["paper", "paper"]
    with_gpu.write(text.replace("epochs: 2", "epochs: 2, rank: 8"), "third.yaml")
    assert [each["measured"] for each in trainings(with_gpu, "third.yaml")] == [None, None]  # nor in the table


def test_a_training_that_goes_on_is_told_what_is_left(with_gpu: Place) -> None:
    slow = {"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.1"}
    process = with_gpu.start("train", "run.yaml", env=slow)
    events = with_gpu.path / "runs" / "paper" / "events.jsonl"
    wait_until(lambda: events.exists() and '"step":33,' in events.read_text(encoding="utf-8"), process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    planned = with_gpu.wan22lora("train", "run.yaml", "--dry-run").stdout
    assert re.search(r"# note: forecast: train-high: \d steps? more takes? under a minute \(0.1\d* s each\)", planned)
    assert re.search(r"# note: forecast: train-low: 36 steps take under a minute \(0.1\d* s each\)", planned)


def test_a_rehearsal_is_never_measured(with_gpu: Place) -> None:
    train(with_gpu, "run.yaml", "--rehearse")
    assert (with_gpu.run / "output" / "paper-high.safetensors").is_file()
    assert not list(with_gpu.path.rglob("measured.json"))


def test_a_file_that_cannot_be_written_costs_the_forecast_alone(with_gpu: Place) -> None:
    place = with_gpu.path / "runs" / "paper" / "measured.json"
    place.mkdir(parents=True)
    train(with_gpu, "run.yaml")
    assert (with_gpu.path / "runs" / "paper" / "output" / "paper-low.safetensors").is_file()
    assert [each["measured"]["run"] for each in trainings(with_gpu)] == [None, None]


def test_musubis_own_program_is_measured_by_its_progress_bar(with_gpu: Place) -> None:
    text = (with_gpu.path / "run.yaml").read_text(encoding="utf-8")
    with_gpu.write(f"{text}trainer: plain\n")
    train(with_gpu, "run.yaml")
    for each in trainings(with_gpu):
        assert each["measured"]["run"] == "paper"
        assert each["measured"]["steps"] >= 20
