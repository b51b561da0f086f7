"""Which files an earlier training of the same name left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wan22lora.plan.model import Step, StepId
from wan22lora.plan.states import State
from wan22lora.run.outputs import earlier_outputs


def step(step_id: StepId, *writes: Path) -> Step:
    return Step(step_id, ("python",), Path("/"), {}, writes=writes)


def test_everything_of_the_training_and_nothing_of_another(tmp_path: Path) -> None:
    own = [
        "demo-high.safetensors",
        "demo-high-000001.safetensors",
        "demo-high-000001-state",
        "demo-high-step00001000.safetensors",
        "demo-high-step00001000-state",
        "demo-high-state",
        "demo-high-ema.safetensors",
        "demo-high-000001-ema.safetensors",
        "demo-high-step00001000-ema.safetensors",
        "sample/demo-high_e000001_00_20260101120000.png",
        "sample/demo-high_000100_00_20260101120000_5.mp4",
    ]
    others = [
        "demo-low.safetensors",
        "demo-high-2.safetensors",
        "demo-high-2-000001.safetensors",
        "demo-higher.safetensors",
        "notes.txt",
        "sample/demo-high-2_e000001_00_20260101120000.png",
    ]
    for name in (*own, *others):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for results in (["demo-high"], ["demo-high", "demo-high-ema"]):
        found = earlier_outputs(step("train-high", *(tmp_path / f"{name}.safetensors" for name in results)))
        assert sorted(str(path.relative_to(tmp_path)) for path in found) == sorted(own)


def test_a_first_training_finds_nothing(tmp_path: Path) -> None:
    assert earlier_outputs(step("train", tmp_path / "output" / "demo.safetensors")) == ()


def test_a_training_that_continues_keeps_its_checkpoints(tmp_path: Path) -> None:
    for name in ("demo-high.safetensors", "demo-high-000001.safetensors"):
        (tmp_path / name).touch()
    of_total = State(tmp_path / "step-00000120", 120, 300)
    going_on = replace(step("train-high", tmp_path / "demo-high.safetensors"), continues=of_total, predicted_steps=300)
    assert earlier_outputs(going_on) == ()
    assert earlier_outputs(replace(going_on, predicted_steps=400)) == ()


def test_caches_are_not_moved_away(tmp_path: Path) -> None:
    cache = tmp_path / "a_wan_te.safetensors"
    cache.touch()
    assert earlier_outputs(step("cache-text", cache)) == ()
