"""A training under the extension that is killed or stopped goes on as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from wan22lora.musubi.safetensors import read_header

from .bench import Bench

OPTIONS = (
    *("--max_train_epochs", "5", "--gradient_accumulation_steps", "4", "--save_every_n_epochs", "2"),
    *("--save_every_n_steps", "3", "--save_last_n_steps", "3", "--ema_decay", "0.9"),
)
"""Ten steps of six batches an epoch, four or two to a step."""
SLOW = {"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.1"}


def tensors(folder: Path) -> dict[str, bytes]:
    """The files' contents without their metadata, which hold the time of saving."""
    found = {}
    for path in folder.iterdir():
        header = read_header(path)
        found[path.name] = path.read_bytes()[header.size - max(tensor.end for tensor in header.tensors.values()) :]
    return found


@pytest.fixture
def whole(cached: Bench) -> dict[str, bytes]:
    """What the training leaves when nothing happens."""
    left = uninterrupted(cached, *OPTIONS)
    assert len(left) == 10
    return left


def uninterrupted(bench: Bench, *options: str) -> dict[str, bytes]:
    """The files of a training that was left alone; nothing else stays of it."""
    assert bench.extension(*options).returncode == 0
    left = tensors(bench.out)
    for path in (bench.out, bench.states):
        path.rename(path.with_name(f"whole-{path.name}"))
    bench.ledger.unlink()
    return left


def test_what_is_killed_before_a_step_goes_on_from_the_newest_state(cached: Bench, whole: dict[str, bytes]) -> None:
    states = ("--states_every_steps", "2")
    done = cached.extension(*OPTIONS, *states, WAN22LORA_FAULT="train:kill@6")
    assert done.returncode == -signal.SIGKILL
    assert cached.events("train-step")[-1]["step"] == 5
    done = cached.extension(*OPTIONS, *states)
    assert done.returncode == 0
    begun = cached.events("training-begun")[-1]
    assert (begun["step"], begun["total"], begun["epoch"], begun["epochs"]) == (4, 10, 2, 5)
    assert begun["state"] == str(cached.states / "step-00000004")
    assert [event["step"] for event in cached.events("train-step")] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]
    assert [event["epoch"] for event in cached.events("train-step")[5:]] == [3, 3, 4, 4, 5, 5]
    assert tensors(cached.out) == whole


def test_losses_and_metadata_go_on_too(cached: Bench) -> None:
    cached.extension(*OPTIONS)
    expected = [event["loss"] for event in cached.events("train-step")]
    cached.ledger.unlink()
    for path in cached.states.iterdir():
        path.rename(cached.folder / path.name)
    seedless = ("--states_every_steps", "3")
    cached.extension(*OPTIONS, *seedless, WAN22LORA_FAULT="train:kill@8")
    before = read_header(cached.out / "t-step00000006.safetensors").metadata
    cached.extension(*OPTIONS, *seedless)
    losses = {event["step"]: event["loss"] for event in cached.events("train-step")}
    assert list(losses.values()) == expected
    after = read_header(cached.out / "t.safetensors").metadata
    for name in ("ss_session_id", "ss_training_started_at"):
        assert before[name] == after[name]


def test_a_seed_that_was_drawn_stays(cached: Bench) -> None:
    options = (*OPTIONS, "--states_every_steps", "2")
    cached.extension(*options, without=("--seed",), WAN22LORA_FAULT="train:kill@5")
    cached.extension(*options, without=("--seed",))
    first, last = (read_header(cached.out / name).metadata for name in ("t-000002.safetensors", "t.safetensors"))
    assert first["ss_seed"] == last["ss_seed"] != "None"


def test_without_a_state_it_begins_again(cached: Bench, whole: dict[str, bytes]) -> None:
    cached.extension(*OPTIONS, WAN22LORA_FAULT="train:kill@4")
    assert cached.extension(*OPTIONS).returncode == 0
    assert [event["state"] for event in cached.events("training-begun")] == [None, None]
    assert tensors(cached.out) == whole


def test_after_the_end_only_the_final_file_is_written_again(cached: Bench, whole: dict[str, bytes]) -> None:
    cached.extension(*OPTIONS)
    (cached.out / "t.safetensors").unlink()
    assert cached.extension(*OPTIONS).returncode == 0
    assert len(cached.events("train-step")) == 10
    assert cached.events("training-begun")[-1]["step"] == 10
    assert tensors(cached.out) == whole


def test_a_training_that_ended_can_be_trained_further(cached: Bench, whole: dict[str, bytes]) -> None:
    """With more steps than at first, which ended in the middle of the third epoch."""
    assert cached.extension(*OPTIONS[2:], "--max_train_steps", "5", without=("--max_train_epochs",)).returncode == 0
    assert cached.events("epoch")[-1]["epoch"] == 3
    assert cached.extension(*OPTIONS).returncode == 0
    assert cached.events("training-begun")[-1]["step"] == 5
    assert tensors(cached.out) == whole


def test_half_a_state_is_passed_over(cached: Bench, whole: dict[str, bytes]) -> None:
    states = ("--states_every_steps", "2")
    done = cached.extension(*OPTIONS, *states, WAN22LORA_FAULT="train:half-state@3")
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in cached.states.iterdir()) == [
        *(".writing-step-00000006", "step-00000002", "step-00000004"),
    ]
    assert cached.extension(*OPTIONS, *states).returncode == 0
    assert cached.events("training-begun")[-1]["step"] == 4
    assert sorted(path.name for path in cached.states.iterdir()) == ["step-00000008", "step-00000010"]
    assert tensors(cached.out) == whole


def test_a_state_that_changed_since_is_refused(cached: Bench) -> None:
    cached.extension(*OPTIONS, "--states_every_steps", "2", WAN22LORA_FAULT="train:kill@6")
    file = cached.states / "step-00000004" / "state.pt"
    file.write_bytes(file.read_bytes().replace(b"rehearsal", b"rehearsed"))
    done = cached.extension(*OPTIONS)
    assert done.returncode == 1
    assert f"the state {file.parent} is damaged" in cached.events("training-failed")[0]["text"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_leaves_a_state(
    cached: Bench, whole: dict[str, bytes], number: signal.Signals
) -> None:
    process = cached.start(*OPTIONS, **SLOW)
    cached.wait_for("train-step", 3)
    os.killpg(process.pid, number)
    assert process.wait(timeout=10) == 128 + number
    *_, state, stopped = cached.events()
    assert (state["event"], stopped["event"]) == ("state", "training-stopped")
    done = cached.events("train-step")[-1]["step"]
    assert (stopped["step"], stopped["signal"], stopped["state"]) == (done, number, state["path"])
    assert cached.extension(*OPTIONS).returncode == 0
    assert [event["step"] for event in cached.events("train-step")] == list(range(1, 11))
    assert tensors(cached.out) == whole


def test_a_second_signal_ends_it_at_once(cached: Bench) -> None:
    process = cached.start(*OPTIONS, WAN22LORA_REHEARSAL_STEP_SECONDS="0.05", WAN22LORA_FAULT="train:hang@3")
    cached.wait_for("train-step", 2)
    os.killpg(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=5) == 130
    assert not cached.events("training-stopped")
    assert not cached.states.exists()


def test_sigint_may_be_ignored(cached: Bench) -> None:
    process = cached.start(*OPTIONS, **SLOW, WAN22LORA_FAULT="train:ignore-sigint")
    cached.wait_for("train-step", 1)
    os.killpg(process.pid, signal.SIGINT)
    cached.wait_for("train-step", 3)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=10) == 143


def test_however_often_it_is_killed_the_files_are_the_same(cached: Bench) -> None:
    """Fifty times, anywhere between its beginning and a few steps later: while files are written, too."""
    options = (
        *("--max_train_epochs", "150", "--gradient_accumulation_steps", "4", "--save_every_n_epochs", "20"),
        *("--save_every_n_steps", "2", "--save_last_n_steps", "60", "--ema_decay", "0.9", "--states_every_steps", "1"),
    )
    expected = uninterrupted(cached, *options)
    chance = random.Random(7)
    for kills in range(50):
        process = cached.start(*options, WAN22LORA_REHEARSAL_STEP_SECONDS="0.01")
        while len(cached.events("training-begun")) == kills and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.06))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert cached.extension(*options).returncode == 0
    assert tensors(cached.out) == expected
    assert not list(cached.out.glob(".*"))
    begun = [event["step"] for event in cached.events("training-begun")]
    assert begun == sorted(begun)
    assert len(set(begun)) > 25
    steps = [event["step"] for event in cached.events("train-step")]
    assert sorted(set(steps)) == list(range(1, 301))
    assert sorted(path.name for path in cached.states.iterdir()) == ["step-00000299", "step-00000300"]
