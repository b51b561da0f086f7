"""Whole runs against the stand-ins: what ends up on disk, what a second run does, what a person reads."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.musubi.safetensors import read_header

from .conftest import Place


def logs(place: Place) -> list[str]:
    return sorted(path.name for path in (place.run / "logs").iterdir())


def wait_for(path: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def test_a_rehearsal_of_the_article_ends_with_two_files(place: Place) -> None:
    place.write("name: paper\npreset: article-wan22\nimages: pictures\n")
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    for expert, timesteps in (("high", "875,1000"), ("low", "0,875")):
        header = read_header(place.run / "output" / f"paper-{expert}.safetensors")
        assert header.metadata["modelspec.timestep_range"] == timesteps
        assert header.metadata["ss_steps"] == "1800"
        assert "wan22lora_rehearsal" in header.metadata
    assert "nothing was trained" in done.stdout
    assert not (place.path / "runs" / "paper").exists()


def test_a_second_train_runs_nothing_and_says_so_quickly(place: Place) -> None:
    place.wan22lora("train", "run.yaml", "--rehearse")
    before = logs(place)
    again = place.wan22lora("train", "run.yaml", "--rehearse")
    assert again.exit_code == 0
    assert "nothing to do" in again.stdout
    assert again.cpu_seconds < 2
    assert logs(place) == before


def test_t5_is_started_for_stale_captions_alone_and_is_gone_before_an_expert_loads(place: Place) -> None:
    def processes() -> list[tuple[str, str]]:
        lines = (place.run / "events.jsonl").read_text(encoding="utf-8").splitlines()
        events = [event for event in map(json.loads, lines) if event["event"] in ("step-started", "step-ended")]
        return [(event["id"], event["event"]) for event in events]

    place.wan22lora("train", "run.yaml", "--rehearse")
    first = processes()
    assert first.index(("cache-text", "step-ended")) < first.index(("train-high", "step-started"))
    place.write("name: paper\npreset: article-wan22\nimages: pictures\ntrain: {epochs: 3, learning_rate: 1.0e-4}\n")
    assert place.wan22lora("train", "run.yaml", "--rehearse", "--restart").exit_code == 0
    assert [name for name, event in processes()[len(first) :] if event == "step-started"] == ["train-high", "train-low"]


def test_an_edited_caption_is_encoded_alone_and_concerns_both_experts(
    place: Place, after_command: Callable[..., None]
) -> None:
    after_command("train", "run.yaml", "--rehearse")
    before = place.caches()
    (place.path / "pictures" / "03.txt").write_text("paperworld, something else", encoding="utf-8")
    assert place.wan22lora("cache", "run.yaml", "--only-text", "--rehearse").exit_code == 0
    after = place.caches()
    assert {name for name in before if before[name] != after[name]} == {"03_wan_te.safetensors"}
    script = place.wan22lora("train", "run.yaml", "--rehearse", "--dry-run").stdout
    assert "# train-high: refused: pictures and captions changed" in script
    assert "# cache-text: fresh, would be skipped: all 18 files are current" in script


def test_a_replaced_picture_is_encoded_alone_though_its_name_and_size_stayed(
    place: Place, after_command: Callable[..., None]
) -> None:
    after_command("cache", "run.yaml", "--rehearse")
    before = place.caches()
    Image.new("RGB", (96, 96), (1, 2, 3)).save(place.path / "pictures" / "00.png")
    place.wan22lora("cache", "run.yaml", "--rehearse")
    after = place.caches()
    assert {name for name in before if before[name] != after[name]} == {"00_0096x0096_wan.safetensors"}


def test_a_removed_picture_leaves_the_cache_before_anything_trains_on_it(
    place: Place, after_command: Callable[..., None]
) -> None:
    after_command("cache", "run.yaml", "--rehearse")
    for name in ("17.png", "17.txt"):
        (place.path / "pictures" / name).unlink()
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert not any(name.startswith("17_") for name in place.caches())
    assert read_header(place.run / "output" / "paper-high.safetensors").metadata["ss_num_train_items"] == "17"


def test_another_resolution_encodes_all_latents_and_no_caption(
    place: Place, after_command: Callable[..., None]
) -> None:
    after_command("cache", "run.yaml", "--rehearse")
    before = place.caches()
    place.write("name: paper\npreset: article-wan22\nimages: pictures\ndata: {resolution: 512}\n")
    place.wan22lora("cache", "run.yaml", "--rehearse")
    changed = {name for name, stamp in place.caches().items() if before.get(name) != stamp}
    assert len(changed) == 18
    assert not any(name.endswith("_te.safetensors") for name in changed)


def test_a_changed_learning_rate_trains_again_and_keeps_the_earlier_files_aside(place: Place) -> None:
    run = "name: paper\npreset: article-wan22\nimages: pictures\ntrainer: plain\ntrain: {epochs: 3}\n"
    place.write(run)
    place.wan22lora("train", "run.yaml", "--rehearse")
    place.write(f"{run}experts: {{low: {{learning_rate: 1e-4}}}}\n")
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert "learning_rate was 3e-4, is 1e-4" in done.stdout
    assert [name for name in logs(place) if "train" in name] == [
        "003-train-high.log",
        "004-train-low.log",
        "005-train-low.log",
    ]
    (shelf,) = (place.run / "previous").iterdir()
    assert (shelf / "paper-low.safetensors").is_file()
    assert str(shelf.name) in done.stdout


def test_memory_settings_alone_train_nothing_again(place: Place, after_command: Callable[..., None]) -> None:
    after_command("train", "run.yaml", "--rehearse")
    place.write("name: paper\npreset: article-wan22\nimages: pictures\ntrain: {epochs: 3, blocks_to_swap: 9}\n")
    assert "nothing to do" in place.wan22lora("train", "run.yaml", "--rehearse").stdout


def test_one_expert_alone(place: Place) -> None:
    assert place.wan22lora("train", "run.yaml", "--rehearse", "--only", "low").exit_code == 0
    assert [path.name for path in (place.run / "output").glob("*.safetensors")] == ["paper-low.safetensors"]


def test_force_runs_one_step_or_all_again(place: Place, after_command: Callable[..., None]) -> None:
    after_command("train", "run.yaml", "--rehearse")
    place.wan22lora("train", "run.yaml", "--rehearse", "--force", "train-low")
    assert logs(place)[4:] == ["005-train-low.log"]
    place.wan22lora("train", "--force", "run.yaml", "--rehearse")
    assert len(logs(place)) == 9


@pytest.mark.parametrize(
    ("words", "step", "steps"),
    [
        (("train", "run.yaml"), "train", "cache-latents, cache-text, train-high, train-low"),
        (("train", "run.yaml", "--only", "low"), "train-high", "cache-latents, cache-text, train-low"),
        (("cache", "run.yaml", "--only-text"), "cache-latents", "cache-text"),
    ],
)
def test_a_step_that_the_command_does_not_run_cannot_be_forced(
    place: Place, words: tuple[str, ...], step: str, steps: str
) -> None:
    done = place.wan22lora(*words, "--rehearse", "--force", step)
    assert done.exit_code == 2
    told = " ".join(done.stderr.replace("│", " ").split())
    assert f"{step} is no step of this command; steps: {steps}" in told


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (("train", "run.yaml", "--only", "low", "--force"), "wan22lora train run.yaml --rehearse --only low"),
        (("cache", "run.yaml", "--only-text"), "wan22lora cache run.yaml --rehearse --only-text"),
        (("cache", "run.yaml", "--musubi", "a b"), "wan22lora cache run.yaml --rehearse --musubi 'a b'"),
    ],
)
def test_the_command_that_goes_on_does_what_was_typed(place: Place, words: tuple[str, ...], again: str) -> None:
    step = "train-low" if words[0] == "train" else "cache-text"
    done = place.wan22lora(*words, "--rehearse", env={"WAN22LORA_FAULT": f"{step}:oom"})
    assert done.exit_code == 5, done.output
    assert done.stderr.rstrip().endswith(again)


FAULTS = [
    ("train-high:oom@5", 5, "memory", "paper-low"),
    ("cache-latents:ram", 5, "RAM", "paper-high"),
    ("train-low:exit0", 6, "missing", "paper-low"),
    ("train-low:truncated", 6, "paper-low.safetensors", ""),
    ("train-high:missing-attention", 5, "xformers", "paper-high"),
    ("train-high:nan@30", 5, "without a finite loss", "paper-high"),
    ("cache-text:crash@3", 5, "cache-text", "paper-high"),
]
OF_MUSUBIS_OWN_PROGRAM = [
    ("train-high:nan@30", 6, "no number any more", ""),
    ("train-high:disk-full@1", 5, "space", ""),
]


@pytest.mark.parametrize(("fault", "exit_code", "cause", "absent"), FAULTS, ids=[case[0] for case in FAULTS])
def test_a_failing_step_is_diagnosed_and_the_same_command_goes_on(
    place: Place, fault: str, exit_code: int, cause: str, absent: str
) -> None:
    failed = place.wan22lora("train", "run.yaml", "--rehearse", env={"WAN22LORA_FAULT": fault})
    assert failed.exit_code == exit_code, failed.output
    assert cause in failed.stderr
    assert "logs" in failed.stderr
    assert "wan22lora train run.yaml --rehearse" in failed.stderr
    assert "Traceback (most recent call last)" not in failed.stderr.splitlines()[0]
    if absent:
        assert not (place.run / "output" / f"{absent}.safetensors").exists()
    assert place.wan22lora("train", "run.yaml", "--rehearse").exit_code == 0


@pytest.mark.parametrize(
    ("fault", "exit_code", "cause", "absent"),
    OF_MUSUBIS_OWN_PROGRAM,
    ids=[case[0] for case in OF_MUSUBIS_OWN_PROGRAM],
)
def test_so_is_one_of_musubis_own_program(place: Place, fault: str, exit_code: int, cause: str, absent: str) -> None:
    place.write("name: paper\npreset: article-wan22\nimages: pictures\ntrainer: plain\ntrain: {epochs: 3}\n")
    test_a_failing_step_is_diagnosed_and_the_same_command_goes_on(place, fault, exit_code, cause, absent)


def test_a_caching_that_dies_in_the_middle_leaves_no_half_file_and_keeps_the_whole_ones(place: Place) -> None:
    failed = place.wan22lora("cache", "run.yaml", "--rehearse", env={"WAN22LORA_FAULT": "cache-latents:half-cache@7"})
    assert failed.exit_code == 5
    kept = place.caches()
    assert len(kept) == 6
    for path in (place.run / "cache").rglob("*.safetensors"):
        read_header(path)
    assert place.wan22lora("cache", "run.yaml", "--rehearse").exit_code == 0
    after = place.caches()
    assert len(after) == 36
    assert {name for name in kept if after[name] != kept[name]} == set()


def test_ctrl_c_ends_the_process_group_and_the_same_command_finishes(place: Place) -> None:
    process = place.start("train", "run.yaml", "--rehearse", env={"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.2"})
    wait_for(place.run / "logs" / "003-train-high.log")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "wan22lora train run.yaml --rehearse" in stderr
    events = [json.loads(line) for line in (place.run / "events.jsonl").read_text().splitlines()]
    group = [event["pgid"] for event in events if event["event"] == "step-started"][-1]
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert place.wan22lora("train", "run.yaml", "--rehearse").exit_code == 0
    assert (place.run / "output" / "paper-low.safetensors").is_file()


def test_a_second_train_beside_a_running_one_is_kept_out(place: Place) -> None:
    process = place.start("train", "run.yaml", "--rehearse", env={"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.2"})
    wait_for(place.run / "logs" / "003-train-high.log")
    second = place.wan22lora("train", "run.yaml", "--rehearse")
    assert second.exit_code == 7
    assert str(process.pid) in second.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def test_missing_captions_stop_the_run_before_anything_starts(place: Place) -> None:
    (place.path / "pictures" / "04.txt").unlink()
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 3
    assert "04.png" in done.stderr
    assert not place.run.exists()


def test_a_machine_without_musubi_and_weights_is_told_everything_at_once(place: Place) -> None:
    done = place.wan22lora("train", "run.yaml")
    assert done.exit_code == 4
    for part in ("musubi-tuner", "models.high", "models.low", "models.vae", "models.t5", "WAN22LORA_MUSUBI"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_captions_without_the_trigger_are_pointed_out(place: Place) -> None:
    place.write("name: paper\npreset: article-wan22\nimages: pictures\ntrigger: zxq\n")
    assert "18 of 18 captions lack the trigger `zxq`" in place.wan22lora("train", "run.yaml", "--dry-run").stdout


def test_a_killed_caching_followed_by_the_old_captions_trains_on_the_old_captions(place: Place) -> None:
    captions = {path: path.read_text("utf-8") for path in sorted((place.path / "pictures").glob("*.txt"))}
    assert place.wan22lora("cache", "run.yaml", "--rehearse").exit_code == 0
    for path in captions:
        path.write_text("paperworld, edited", encoding="utf-8")
    killed = place.start("cache", "run.yaml", "--rehearse", env={"WAN22LORA_FAULT": "cache-text:hang@4"})
    deadline = time.monotonic() + 20
    while not (place.run / "logs" / "003-cache-text.log").is_file() or len(list(place.run.glob("cache/0/*_te.*"))) != 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    for path, caption in captions.items():
        path.write_text(caption, encoding="utf-8")
    while (done := place.wan22lora("cache", "run.yaml", "--rehearse")).exit_code == 7:
        assert time.monotonic() < deadline + 20, done.output
    assert done.exit_code == 0, done.output
    for path, caption in captions.items():
        encoded = read_header(place.run / "cache" / "0" / f"{path.stem}_wan_te.safetensors").metadata["caption1"]
        assert encoded == caption.strip()


@pytest.mark.parametrize(("step", "file"), [("cache-text", "17.txt"), ("cache-latents", "17.png")])
def test_what_is_edited_while_it_is_encoded_is_said_and_encoded_again(place: Place, step: str, file: str) -> None:
    edited = place.path / "pictures" / file
    running = place.start("train", "run.yaml", "--rehearse", env={"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.15"})
    number = "001" if step == "cache-latents" else "002"
    wait_for(place.run / "logs" / f"{number}-{step}.log")
    if step == "cache-text":
        edited.write_text("paperworld, edited in the middle", encoding="utf-8")
    else:
        Image.new("RGB", (96, 96), (9, 9, 9)).save(edited)
    output = "".join(running.communicate(timeout=60))
    assert running.returncode == 6, output
    assert "of 17.png changed while it was being encoded" in output
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert "1 of 18 files to encode" in done.stdout


def test_what_comes_into_the_dataset_while_it_is_encoded_is_not_trained_on_unrecorded(place: Place) -> None:
    running = place.start("train", "run.yaml", "--rehearse", env={"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.15"})
    cache = place.run / "cache" / "0"
    while not (made := list(cache.glob("*_wan.safetensors"))):
        time.sleep(0.02)
    new = cache / "new_0096x0096_wan.safetensors"  # as musubi makes it of a new.png that it lists and the plan did not
    new.write_bytes(made[0].read_bytes())
    output = "".join(running.communicate(timeout=60))
    assert running.returncode == 6, output
    assert "new came into the dataset while it was being encoded" in output
    assert not new.exists()
    assert list(place.run.glob("previous/*/new_0096x0096_wan.safetensors"))
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert "all 18 files are current" in done.stdout
