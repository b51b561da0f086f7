"""Preservation and held-out items through the command line: what the plan says of them is what the trainer does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .command_line import CommandLine, write_clip, write_pictures
from .environment import SmallModels

RUN = """
name: paper
preset: article-wan22
datasets: [{{images: pictures}}, {{videos: clips, frames: 5, frame_extraction: chunk}}]
trigger: paperworld
data: {{resolution: 64}}
models: {{high: {m.t2v_high}, low: {m.t2v_low}, vae: {m.vae}, t5: {m.t5}}}
validation: {{hold_out: [1.png, a.mp4], every_steps: 4, timesteps: 2}}
train: {{epochs: 2, mixed_precision: "no", fp8_base: null, attention: sdpa, data_loader_workers: 0}}
experts: {{high: {{preservation: {{class: origami, every: 2}}}}}}
"""
Event = dict[str, Any]


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, command_line: Callable[..., CommandLine], small_models: SmallModels
) -> list[Event]:
    """The events of a run in which every number of steps came out as predicted."""
    place = tmp_path_factory.mktemp("preserved")
    write_pictures(place / "pictures", [(64, 64)] * 3)
    (place / "clips").mkdir()
    for name in ("a", "b"):
        write_clip(place / "clips" / f"{name}.mp4", frames=12, rate=16)
        (place / "clips" / f"{name}.txt").write_text("paperworld moves", encoding="utf-8")
    (place / "run.yaml").write_text(RUN.format(m=small_models), encoding="utf-8")
    wan22lora = command_line(place)
    # two pictures and the two windows of one clip make 4 batches an epoch
    assert wan22lora.predicted_steps() == [8, 8]
    finished = wan22lora("train", "run.yaml")
    assert finished.exit_code == 0, finished.output
    assert "held out for the validation: 1.png, a.mp4" in finished.output
    lines = (place / "runs" / "paper" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def of(events: list[Event], step: str, event: str) -> list[Event]:
    return [each for each in events if each["event"] == event and each["id"] == step]


@pytest.mark.parametrize("step", ["train-high", "train-low"])
def test_held_out_items_are_not_trained_and_the_others_are(trained: list[Event], step: str) -> None:
    assert [each["step"] for each in of(trained, step, "train-step")] == list(range(1, 9))
    (ended,) = of(trained, step, "training-ended")
    assert ended["step"] == 8


@pytest.mark.parametrize(("step", "ends"), [("train-high", [875, 1000]), ("train-low", [0, 875])])
def test_each_expert_is_validated_over_its_own_timesteps(trained: list[Event], step: str, ends: list[float]) -> None:
    validations = of(trained, step, "validation")
    assert [each["step"] for each in validations] == [4, 8]
    for each in validations:
        assert [each["bins"][0]["low"], each["bins"][-1]["high"]] == ends


def test_the_expert_that_preserves_tells_both_losses_in_every_other_step(trained: list[Event]) -> None:
    preserved = ["preservation" in each.get("losses", {}) for each in of(trained, "train-high", "train-step")]
    assert sorted(preserved) == [False] * 4 + [True] * 4
    assert not any("preservation" in each.get("losses", {}) for each in of(trained, "train-low", "train-step"))
