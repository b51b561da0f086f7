"""Trainings that the GPU's memory, or the machine's compiler, does not suffice for, and what is made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..conftest import Place  # type: ignore[import-not-found, unused-ignore]

RUN = "name: paper\npreset: article-wan22\nimages: pictures\n"
WRITTEN = f"{RUN}train: {{epochs: 3, blocks_to_swap: 20}}\n"
CHOSEN = f"{RUN}train: {{epochs: 3}}\nhardware: 48gb\ndata: {{resolution: 960}}\n"


def events(place: Place, kind: str) -> list[dict[str, Any]]:
    lines = (place.run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def adapted(place: Place) -> list[str]:
    return [event["text"] for event in events(place, "adapted")]


def tried(place: Place, step: str) -> list[tuple[str, ...]]:
    """Of each process: share kept (a dash where that is not said), blocks in RAM, and whether the blocks are fast."""
    argvs = [event["argv"] for event in events(place, "step-started") if event["id"] == step]

    def of(argv: list[str], name: str) -> str:
        return argv[argv.index(name) + 1] if name in argv else "-"

    return [(of(argv, "--activation_budget"), of(argv, "--blocks_to_swap"), of(argv, "--speed")) for argv in argvs]


def rehearse(place: Place, fault: str = "", *more: str, gpu_gib: float = 0, step_seconds: float = 0) -> Any:
    variables = {
        "WAN22LORA_FAULT": fault,
        "WAN22LORA_REHEARSAL_GPU_GIB": str(gpu_gib),
        "WAN22LORA_REHEARSAL_STEP_SECONDS": str(step_seconds),
    }
    return place.wan22lora("train", "run.yaml", "--rehearse", *more, env=variables)


@pytest.mark.parametrize(("trainer", "fault"), [("extension", "oom@5"), ("plain", "oom@5"), ("extension", "oom-load")])
def test_a_lack_of_memory_under_written_settings_is_answered_with_the_line_to_write(
    place: Place, trainer: str, fault: str
) -> None:
    place.write(f"{WRITTEN}trainer: {trainer}\npin: v0.3.4\n")
    done = rehearse(place, f"train-high:{fault}")
    assert done.exit_code == 5, done.output
    assert "the GPU's memory ran out for train-high" in done.stderr
    assert "blocks_to_swap: 28 under train: (run.yaml line 4); with on_oom: retry" in done.stderr
    assert "CUDA out of memory" in done.stderr
    assert adapted(place) == []


def test_with_retry_the_ladder_is_climbed_to_its_end(place: Place) -> None:
    place.write(f"{WRITTEN}on_oom: retry\npin: v0.3.4\n")
    done = rehearse(place, "train-high:oom@5")
    assert done.exit_code == 5, done.output
    assert [text.rpartition("with ")[2] for text in adapted(place)] == [
        "blocks_to_swap: 28",
        "blocks_to_swap: 36",
        "blocks_to_swap: 38",
        "gradient_checkpointing_cpu_offload: true",
    ]
    assert "data.batch_size: 1" in done.stderr
    assert [blocks for _, blocks, _ in tried(place, "train-high")] == ["20", "28", "36", "38", "38"]


def test_chosen_settings_step_down_by_themselves_and_the_folder_remembers(place: Place) -> None:
    place.write(CHOSEN)
    done = rehearse(place, "train-high:oom-full@5", gpu_gib=22)
    assert done.exit_code == 0, done.output
    assert tried(place, "train-high") == [("-", "-", "fast"), ("0.5", "-", "fast"), ("0.25", "-", "fast")]
    assert tried(place, "train-low") == [("0.25", "-", "fast")]
    first, second = adapted(place)
    assert "100% of what can be kept is kept; it goes on with less: 50% of what can be kept is kept" in first
    assert second in done.stdout
    remembered = json.loads((place.run / "memory.json").read_text(encoding="utf-8"))
    assert remembered["kept"] == 0.25
    assert "train-high" in remembered["because"]
    assert second in " ".join(place.wan22lora("status", "run.yaml", "--rehearse").stdout.split())

    again = rehearse(place, "train-high:oom-full@5", "--restart", gpu_gib=22)
    assert again.exit_code == 0, again.output
    assert tried(place, "train-high")[3:] == [("0.25", "-", "fast")]
    assert "the memory ran out with more" in again.stderr


def test_a_training_that_ran_out_of_memory_in_its_midst_goes_on_from_its_state(place: Place) -> None:
    place.write(f"{CHOSEN}experts: {{high: {{states: {{every_steps: 2}}}}}}\n")
    done = rehearse(place, "train-high:oom-full@5", gpu_gib=26)
    assert done.exit_code == 0, done.output
    steps = [event["step"] for event in events(place, "train-step") if event["id"] == "train-high"]
    assert steps[:5] == [1, 2, 3, 4, 5]
    assert steps == [*range(1, len(steps) + 1)]


def test_on_oom_stop_stops_chosen_settings_too(place: Place) -> None:
    place.write(f"{CHOSEN}on_oom: stop\n")
    done = rehearse(place, "train-high:oom@5")
    assert done.exit_code == 5, done.output
    assert adapted(place) == []
    assert not (place.run / "memory.json").exists()


def test_at_the_end_of_what_was_chosen_the_advice_says_what_else_helps(place: Place) -> None:
    place.write(f"{CHOSEN}")
    done = rehearse(place, "train-high:oom@1")
    assert done.exit_code == 5, done.output
    shares, blocks = zip(*((share, blocks) for share, blocks, _ in tried(place, "train-high")), strict=True)
    assert shares == ("-", "0.5", "0.25", "0.12", "0.06", *["0.0"] * 6)
    assert {speed for _, _, speed in tried(place, "train-high")} == {"fast"}
    assert blocks == ("-", "-", "-", "-", "-", "-", "8", "16", "24", "32", "38")
    assert "gradient_checkpointing_cpu_offload: true" in done.stderr


def test_musubis_own_program_is_not_tried_again_where_it_would_lose_what_it_trained(place: Place) -> None:
    place.write(f"{CHOSEN}trainer: plain\npin: v0.3.4\n")
    lost = rehearse(place, "train-high:oom@5", step_seconds=0.2)  # its progress is read from what it prints
    assert lost.exit_code == 5, lost.output
    assert adapted(place) == []


def test_without_a_compiler_musubis_modules_train_and_say_so_once(place: Place) -> None:
    place.write(CHOSEN)
    done = rehearse(place, "train-high:no-compiler,train-low:no-compiler")
    assert done.exit_code == 0, done.output
    assert tried(place, "train-high") == [("-", "-", "fast"), ("-", "-", "-")]
    assert tried(place, "train-low") == [("-", "-", "-")]
    (text,) = adapted(place)
    assert "there is no C compiler; musubi's own modules train" in text
    assert "sudo apt-get install -y gcc" in text
    assert done.stdout.count(text) == 1
    assert text in " ".join(place.wan22lora("status", "run.yaml", "--rehearse").stdout.split())


def test_a_speed_that_was_asked_for_and_cannot_be_had_is_an_error_before_anything_is_trained(place: Place) -> None:
    place.write(f"{CHOSEN}speed: fast\n")
    done = rehearse(place, "train-high:no-compiler")
    assert done.exit_code == 4, done.output
    assert "there is no C compiler" in done.stderr
    assert "sudo apt-get install -y gcc" in done.stderr
    assert events(place, "weights-loaded") == []


def test_a_state_made_at_one_speed_goes_on_at_the_other(place: Place) -> None:
    place.write(f"{CHOSEN}speed: reference\nstop_grace: 5\n")
    assert rehearse(place, "train-high:kill@6").exit_code == 5
    place.write(CHOSEN)
    done = rehearse(place)
    assert done.exit_code == 0, done.output
    assert [speed for _, _, speed in tried(place, "train-high")] == ["-", "fast"]
