"""Trainings that run out of GPU memory, and what `on_oom` makes of them."""

from __future__ import annotations

import json

import pytest

from ..conftest import Place  # type: ignore[import-not-found, unused-ignore]

RUN = "name: paper\npreset: article-wan22\nimages: pictures\ntrain: {epochs: 3, blocks_to_swap: 20}\n"


def notes(place: Place) -> list[str]:
    events = map(json.loads, (place.run / "events.jsonl").read_text().splitlines())
    return [event["text"] for event in events if event["event"] == "note"]


@pytest.mark.parametrize(("trainer", "fault"), [("extension", "oom@5"), ("plain", "oom@5"), ("extension", "oom-load")])
def test_a_lack_of_memory_is_answered_with_the_line_to_write(place: Place, trainer: str, fault: str) -> None:
    place.write(f"{RUN}trainer: {trainer}\npin: v0.3.4\n")
    done = place.wan22lora("train", "run.yaml", "--rehearse", env={"WAN22LORA_FAULT": f"train-high:{fault}"})
    assert done.exit_code == 5, done.output
    assert "the GPU's memory ran out for train-high" in done.stderr
    assert "blocks_to_swap: 28 under train: (run.yaml line 4); with on_oom: retry" in done.stderr
    assert "CUDA out of memory" in done.stderr
    assert notes(place) == []


def test_with_retry_the_ladder_is_climbed_to_its_end(place: Place) -> None:
    place.write(f"{RUN}on_oom: retry\npin: v0.3.4\n")
    done = place.wan22lora("train", "run.yaml", "--rehearse", env={"WAN22LORA_FAULT": "train-high:oom@5"})
    assert done.exit_code == 5, done.output
    assert [text.rpartition("with ")[2] for text in notes(place)] == [
        "blocks_to_swap: 28",
        "blocks_to_swap: 36",
        "blocks_to_swap: 38",
        "gradient_checkpointing_cpu_offload: true",
    ]
    assert "data.batch_size: 1" in done.stderr
    events = [json.loads(line) for line in (place.run / "events.jsonl").read_text().splitlines()]
    started = [event["argv"] for event in events if event["event"] == "step-started" and event["id"] == "train-high"]
    assert [argv[argv.index("--blocks_to_swap") + 1] for argv in started] == ["20", "28", "36", "38", "38"]
