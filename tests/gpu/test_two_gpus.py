"""Two GPUs at full size: both experts at the same time against one after the other, and one expert over both GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from wan22lora.machine.nvidia import read_nvidia

from .conftest import FullModels
from .test_full_size import ledger, wan22lora, write_run

STEPS = 24
BOTH = ("train-high", "train-low")


@pytest.fixture(scope="module")
def place(full_models: FullModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with four pictures, encoded."""
    if len(read_nvidia().gpus) < 2:
        pytest.skip("needs two GPUs")
    place = tmp_path_factory.mktemp("two-gpus")
    write_run(place, full_models, "80gb", [(960, 960)] * 4)
    wan22lora(place, full_models, "cache", "run.yaml")
    return place


@pytest.fixture(scope="module", autouse=True)
def both_visible() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        yield


def train(
    place: Path, models: FullModels, parallel: str, steps: int, *more: str, speed: str = "reference"
) -> list[dict[str, Any]]:
    """The events of a training from its first step on."""
    run = place / "run.yaml"
    kept = [line for line in run.read_text().splitlines() if not line.startswith(("parallel", "speed", "train:"))]
    settings = f"train: {{attention: sdpa, steps: {steps}, save_precision: fp16}}"
    run.write_text("\n".join([*kept, f"parallel: {parallel}", f"speed: {speed}", settings]) + "\n")
    wan22lora(place, models, "train", "run.yaml", "--restart", *more)
    kinds = ("step-started", "weights-loaded", "train-step", "step-ended")
    events = [event for kind in kinds for event in ledger(place / "runs" / "full", kind)]
    began = max(event["t"] for event in ledger(place / "runs" / "full", "run-started"))
    return [event for event in events if event["t"] >= began]


def of(events: list[dict[str, Any]], kind: str, step: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind and event["id"] == step]


def pace(events: list[dict[str, Any]], step: str) -> float:
    """Seconds of a step, after the first five."""
    return median(float(event["seconds"]) for event in of(events, "train-step", step)[5:])


def span(events: list[dict[str, Any]]) -> float:
    """Seconds from the start of the first training to the end of the last."""
    begun = min(of(events, "step-started", step)[0]["t"] for step in BOTH)
    return float(max(of(events, "step-ended", step)[0]["t"] for step in BOTH) - begun)


def losses(events: list[dict[str, Any]], step: str) -> list[float]:
    return [event["loss"] for event in of(events, "train-step", step)]


def test_two_experts_take_the_time_of_one(place: Path, full_models: FullModels) -> None:
    at_once = train(place, full_models, "experts", STEPS)
    alone = train(place, full_models, "off", STEPS)
    for step in BOTH:
        ends = [of(events, "step-ended", step)[0]["seconds"] for events in (at_once, alone)]
        print(f"{step}: {pace(at_once, step):.4f} s/step beside the other, {pace(alone, step):.4f} alone; {ends}")
        worst = max(abs(a - b) / b for a, b in zip(losses(at_once, step), losses(alone, step), strict=True))
        print(f"  losses {losses(at_once, step)[:3]} … differ by {worst:.1e} at most")
        assert worst < 2e-3
        assert pace(at_once, step) < 1.05 * pace(alone, step)
    together, apart = span(at_once), span(alone)
    print(f"both: {together:.1f} s at once, {apart:.1f} s one after the other: {apart / together:.2f}×")
    assert apart > 1.9 * together


@pytest.mark.parametrize("speed", ["reference", "fast"])
def test_one_expert_over_both_gpus_shares_its_batches(place: Path, full_models: FullModels, speed: str) -> None:
    shared = train(place, full_models, "ddp", 15, "--only", "high", speed=speed)
    told = of(shared, "train-step", "train-high")
    assert [event["step"] for event in told] == list(range(1, 16))
    assert {event["samples"] for event in told} == {2}
    print(f"ddp: {pace(shared, 'train-high'):.4f} s/step of two pictures, losses {losses(shared, 'train-high')}")
    print("GPU memory:", max(event["gpu_peak"] for event in told) / 2**30, "GiB")
