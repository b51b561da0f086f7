"""Injected faults look from outside like the real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from wan22lora.musubi.safetensors import NotSafetensors, read_header

from .bench import Bench

OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"


@pytest.mark.parametrize(
    ("fault", "message", "steps"),
    [
        ("oom@5", OUT_OF_MEMORY, 4),
        ("crash@3", "RuntimeError: injected fault: crash at 3", 2),
        ("oom-load", OUT_OF_MEMORY, None),
        ("missing-attention", "NameError: name 'xops' is not defined", 0),
        ("dtype", "AssertionError: DiT weights are in bf16, mixed precision must be bf16 or no", None),
    ],
)
def test_a_training_that_fails(cached: Bench, fault: str, message: str, steps: int | None) -> None:
    done = cached.train(WAN22LORA_FAULT=f"train:{fault}")
    assert done.returncode == 1
    assert message in done.stderr
    if steps is not None:
        assert f" {steps}/18 [" in done.stderr
        assert f" {steps + 1}/18 [" not in done.stderr
    assert not cached.out.exists()


def test_a_fault_hits_only_its_step_of_the_plan(cached: Bench) -> None:
    fault = {"WAN22LORA_FAULT": "train-high:crash@2, cache-text:oom"}
    training = cached.train_argv()
    assert cached.run(training, **fault).returncode == 0
    assert cached.run(training, WAN22LORA_STEP="train-low", **fault).returncode == 0
    assert cached.run(training, WAN22LORA_STEP="train-high", **fault).returncode == 1
    assert cached.cache_latents("--keep_cache", WAN22LORA_FAULT=fault["WAN22LORA_FAULT"]).returncode == 0


@pytest.mark.parametrize("fault", ["train:melt", "train", "train:oom@soon"])
def test_a_fault_that_does_not_exist_is_an_error(cached: Bench, fault: str) -> None:
    done = cached.train(WAN22LORA_FAULT=fault)
    assert done.returncode == 1
    assert done.stderr.startswith(f"WAN22LORA_FAULT: '{fault}' is not TARGET:FAULT[@N]")


def test_the_kernel_kills_without_a_word(cached: Bench) -> None:
    done = cached.train(WAN22LORA_FAULT="train:ram")
    assert done.returncode == -signal.SIGKILL
    assert "Traceback" not in done.stderr
    done = cached.train(launch=True, WAN22LORA_FAULT="train:ram")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("died with <Signals.SIGKILL: 9>.")


def test_a_loss_that_is_nan_stays_nan(cached: Bench) -> None:
    done = cached.train(WAN22LORA_FAULT="train:nan@7")
    assert done.returncode == 0
    assert "6/18" in done.stderr.partition("avr_loss=nan")[0]
    assert "18/18" in done.stderr.rpartition("avr_loss=nan")[0]


def test_an_exit_code_0_may_mean_nothing(cached: Bench) -> None:
    done = cached.train(WAN22LORA_FAULT="train:exit0")
    assert done.returncode == 0
    assert not cached.out.exists()


def test_an_exit_code_0_may_leave_half_a_file(cached: Bench) -> None:
    done = cached.train("--save_every_n_epochs", "1", WAN22LORA_FAULT="train:truncated")
    assert done.returncode == 0
    read_header(cached.out / "t-000001.safetensors")
    with pytest.raises(NotSafetensors, match="cut short"):
        read_header(cached.out / "t.safetensors")


def test_the_disk_fills_up_while_saving(cached: Bench) -> None:
    done = cached.train("--save_every_n_epochs", "1", WAN22LORA_FAULT="train:disk-full@2")
    assert done.returncode == 1
    assert "safetensors_rust.SafetensorError: Error while serializing: IoError(Os { code: 28" in done.stderr
    assert "No space left on device" in done.stderr
    read_header(cached.out / "t-000001.safetensors")
    assert not (cached.out / "t.safetensors").exists()


def test_caching_stops_in_the_middle_of_a_file(bench: Bench) -> None:
    done = bench.cache_latents(WAN22LORA_FAULT="cache-latents:half-cache@3")
    assert done.returncode == -signal.SIGKILL
    *whole, half = sorted(bench.cache.iterdir())
    assert len(whole) == 2
    for path in whole:
        read_header(path)
    with pytest.raises(NotSafetensors):
        read_header(half)
    assert bench.cache_latents().returncode == 0
    with pytest.raises(NotSafetensors):
        read_header(half)


def test_half_a_caption_file_is_skipped_but_can_be_written_again(bench: Bench) -> None:
    assert bench.cache_text(WAN22LORA_FAULT="cache-text:truncated@2").returncode == 0
    half = bench.cache / "a1_wan_te.safetensors"
    assert bench.cache_text().returncode == 0
    with pytest.raises(NotSafetensors, match="cut short"):
        read_header(half)
    argv = bench.argv("wan_cache_text_encoder_outputs", "--dataset_config", bench.config, "--t5", "t5.pth")
    assert bench.run(argv).returncode == 0
    read_header(half)
    half.write_bytes(half.read_bytes()[:20])
    assert bench.run(argv).returncode == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [("oom@2", OUT_OF_MEMORY), ("disk-full@2", "No space left on device"), ("oom-load", OUT_OF_MEMORY)],
)
def test_caching_that_fails(bench: Bench, fault: str, message: str) -> None:
    done = bench.cache_latents(WAN22LORA_FAULT=f"cache-latents:{fault}")
    assert done.returncode == 1
    assert message in done.stderr


def test_latents_that_are_nan_become_zero_with_a_warning(bench: Bench) -> None:
    done = bench.cache_latents(WAN22LORA_FAULT="cache-latents:nan@2")
    assert done.returncode == 0
    assert "tensor has NaN: " in done.stderr
    assert "replace NaN with 0" in done.stderr


def start(bench: Bench, argv: list[str], **env: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A training in a process group of its own that writes to a file."""
    log = bench.folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv, cwd=bench.folder, env=bench.environment(**env), stdout=file, stderr=file, start_new_session=True
        )
    return process, log


def wait_for(log: Path, text: str) -> str:
    for _ in range(500):
        written = log.read_text(encoding="utf-8")
        if text in written:
            return written
        time.sleep(0.02)
    raise AssertionError(f"{text!r} never came:\n{written}")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def group_exists(process: subprocess.Popen[bytes]) -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_hanging_takes_no_end(cached: Bench) -> None:
    process, log = start(cached, cached.train_argv(), WAN22LORA_FAULT="train:hang@4")
    wait_for(log, " 3/18 [")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    assert " 4/18 [" not in log.read_text(encoding="utf-8")
    kill_group(process)


def test_half_a_cache_file_makes_the_training_wait_for_ever(cached: Bench) -> None:
    """safetensors' error cannot be pickled, so the data loader's worker never answers; seen with the real musubi."""
    path = cached.cache / "a2_0128x0128_wan.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    process, log = start(cached, cached.train_argv())
    wait_for(log, "_pickle.PicklingError: Can't pickle <class 'safetensors_rust.SafetensorError'>")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    kill_group(process)


def test_ctrl_c_ends_launcher_and_training_with_a_traceback(cached: Bench) -> None:
    argv = cached.train_argv(launch=True)
    process, log = start(cached, argv, WAN22LORA_REHEARSAL_STEP_SECONDS="0.2")
    wait_for(log, "1/18 [")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=5) == -signal.SIGINT
    assert log.read_text(encoding="utf-8").count("KeyboardInterrupt") == 2
    assert not cached.out.exists()


def test_a_training_may_ignore_ctrl_c(cached: Bench) -> None:
    slow = {"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.05", "WAN22LORA_FAULT": "train:ignore-sigint"}
    process, log = start(cached, cached.train_argv(launch=True), **slow)
    wait_for(log, "1/18 [")
    os.killpg(process.pid, signal.SIGINT)
    wait_for(log, "5/18 [")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=5) == -signal.SIGTERM


def test_sigterm_to_the_launcher_alone_orphans_the_training(cached: Bench) -> None:
    slow = {"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.05"}
    process, log = start(cached, cached.train_argv(launch=True), **slow)
    wait_for(log, "1/18 [")
    process.terminate()
    assert process.wait(timeout=5) == -signal.SIGTERM
    assert group_exists(process)
    wait_for(log, "REHEARSAL: ended well.")


def test_a_child_may_outlive_both_signals_and_the_training(cached: Bench) -> None:
    process, log = start(cached, cached.train_argv(), WAN22LORA_FAULT="train:sigterm-orphan")
    assert process.wait(timeout=20) == 0
    child = int(wait_for(log, "outlives this process").partition("child ")[2].split()[0])
    for number in (signal.SIGINT, signal.SIGTERM):
        os.killpg(process.pid, number)
    time.sleep(0.1)
    os.kill(child, 0)
    os.killpg(process.pid, signal.SIGKILL)
