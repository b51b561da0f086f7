"""Injected faults under the trainer extension: an event says why, and what was good is kept."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from wan22lora.trainer.disk import sha256_of

from .bench import Bench


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    ("fault", "reason", "message", "steps"),
    [
        ("oom@5", "out-of-memory", "CUDA out of memory. Tried to allocate 1.27 GiB", 4),
        ("oom-load", "out-of-memory", "CUDA out of memory. Tried to allocate 100.00 MiB", 0),
        ("crash@3", "error", "RuntimeError: injected fault: crash at 3", 2),
        ("missing-attention", "error", "NameError: name 'xops' is not defined", 0),
        ("dtype", "error", "AssertionError: DiT weights are in bf16, mixed precision must be bf16 or no", 0),
    ],
)
def test_a_training_that_fails_says_why(cached: Bench, fault: str, reason: str, message: str, steps: int) -> None:
    done = cached.extension(WAN22LORA_FAULT=f"train:{fault}")
    assert done.returncode == 1
    assert "Traceback (most recent call last):" in done.stderr
    failed = cached.events()[-1]
    assert (failed["event"], failed["reason"]) == ("training-failed", reason)
    assert message in failed["text"]
    assert message in done.stderr
    assert len(cached.events("train-step")) == steps


def test_losses_that_are_no_numbers_end_it_and_leave_no_checkpoint_of_their_own(cached: Bench) -> None:
    options = ("--save_every_n_steps", "1", "--states_every_steps", "1", "--max_nan_steps", "4")
    done = cached.extension(*options, WAN22LORA_FAULT="train-high:nan@5", WAN22LORA_STEP="train-high")
    assert done.returncode == 1
    assert [event["loss"] for event in cached.events("train-step")][4:] == ["nan"] * 4
    warnings = [event["text"] for event in cached.events("warning")]
    assert warnings == [f"the loss of step {n} is no finite number; its update was left out" for n in range(5, 9)]
    failed = cached.events()[-1]
    assert (failed["event"], failed["reason"]) == ("training-failed", "nan")
    assert "the last of them step 8; the LoRA is as it was after step 4" in failed["text"]
    assert "learning_rate" in failed["fix"]
    assert failed["text"] in done.stderr
    assert "t-step00000008.safetensors" not in left(cached.out)
    assert "step-00000008" not in left(cached.states)


def test_one_loss_that_is_no_number_is_survived(cached: Bench) -> None:
    options = ("--max_train_steps", "6", "--max_nan_steps", "3")
    done = cached.extension(*options, without=("--max_train_epochs",), WAN22LORA_FAULT="train:nan@5")
    assert done.returncode == 0
    assert len(cached.events("warning")) == 2
    assert left(cached.out) == ["t.safetensors"]


def test_a_full_disk_is_waited_for_with_patience(cached: Bench) -> None:
    sign = cached.folder / "full"
    sign.touch()
    options = ("--states_every_steps", "4", "--disk_patience", "0.3")
    cached.env |= {"WAN22LORA_FAULT": "train:disk-full-state@2", "WAN22LORA_REHEARSAL_FULL_DISK": str(sign)}
    began = time.monotonic()
    done = cached.extension(*options)
    assert time.monotonic() - began < 10
    assert done.returncode == 1
    *_, paused, failed = cached.events()
    assert (paused["event"], failed["event"], failed["reason"]) == ("paused", "training-failed", "disk-full")
    assert "no room for a state" in failed["text"]
    assert left(cached.states) == ["step-00000004"]
    sign.unlink()
    assert cached.extension(*options).returncode == 0
    assert cached.events("training-begun")[-1]["step"] == 4


def test_the_patience_with_a_full_disk_may_come_from_outside(cached: Bench) -> None:
    cached.env |= {"WAN22LORA_FAULT": "train:disk-full@1", "WAN22LORA_REHEARSAL_DISK_PATIENCE": "0.1"}
    assert cached.extension().returncode == 1
    assert cached.events()[-1]["reason"] == "disk-full"
    assert left(cached.out) == []


def test_it_goes_on_when_there_is_room_again(cached: Bench) -> None:
    """The file that means a full disk is gone by the time of the second look."""
    sign = cached.folder / "full"
    sign.touch()
    fault = {"WAN22LORA_FAULT": "train:disk-full@2", "WAN22LORA_REHEARSAL_FULL_DISK": str(sign)}
    process = cached.start("--save_every_n_epochs", "1", **fault)
    cached.wait_for("paused")
    assert left(cached.out) == ["t-000001.safetensors"]
    sign.unlink()
    assert process.wait(timeout=15) == 0
    assert len(cached.events("unpaused")) == 1
    assert left(cached.out) == ["t-000001.safetensors", "t-000002.safetensors", "t.safetensors"]


def test_a_final_file_may_be_cut_short_after_its_hash_was_told(cached: Bench) -> None:
    done = cached.extension(WAN22LORA_FAULT="train:truncated")
    assert done.returncode == 0
    (checkpoint,) = cached.events("checkpoint")
    assert sha256_of(Path(checkpoint["path"])) != checkpoint["sha256"]
