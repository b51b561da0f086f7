"""One expert by two processes, as `parallel: ddp` starts them: musubi's small models on a CPU, over gloo."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import wan22lora
from wan22lora.plan.states import read_states
from wan22lora.run.alive import group_alive, members

from .asking import INSIDE
from .test_exact_resume import assert_same
from .test_fast_trainings import IN_FP8, assert_learned_alike, assert_near
from .trainings import BATCHES, Trained, Trainings

TRAINER = Path(wan22lora.__file__).parent / "trainer"
SHARED = -(-BATCHES // 2)
"""Batches of each process in an epoch."""
TWO = "--processes 2 --states_every_minutes 0"


class Processes:
    """Starts trainings by several processes, each in a group of its own as the runner does."""

    def __init__(self, trainings: Trainings, python: Path, environment: dict[str, str]) -> None:
        self.trainings, self._python = trainings, python
        self.environment = {**environment, "OMP_NUM_THREADS": "1"}

    def start(self, options: str, folder: Path) -> subprocess.Popen[bytes]:
        argv = [str(self._python), str(TRAINER), *self.trainings.options(folder, options)]
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                argv,
                env=self.environment,
                cwd=self.trainings.job,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def train(self, options: str, folder: Path | None = None) -> Trained:
        folder = folder or self.trainings.new()
        process = self.start(options, folder)
        try:
            code = process.wait(120)
        finally:
            if group_alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
        return Trained(folder, code)

    def train_until(self, step: int, options: str, do: Callable[[subprocess.Popen[bytes]], None]) -> Trained:
        """`do` is called with the training after the event of that step."""
        folder = self.trainings.new()
        process = self.start(options, folder)
        deadline = time.monotonic() + 120
        while not (folder / "events.jsonl").exists() or f'"step":{step},' not in (folder / "events.jsonl").read_text():
            assert process.poll() is None, Trained(folder, None).log
            assert time.monotonic() < deadline
            time.sleep(0.01)
        do(process)
        code = process.wait(60)
        gone_by = time.monotonic() + 15
        while group_alive(process.pid):
            assert time.monotonic() < gone_by, members(process.pid)
            time.sleep(0.05)
        return Trained(folder, code if code >= 0 else 128 - code)


@pytest.fixture
def processes(trainings: Trainings, musubi_python: Path, environment: dict[str, str]) -> Processes:
    return Processes(trainings, musubi_python, environment)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_two_share_the_batches_and_make_the_predicted_steps(processes: Processes, accumulation: int) -> None:
    done = processes.train(f"{TWO} --gradient_accumulation_steps {accumulation}")
    assert done.exit_code == 0, done.log
    (begun,) = done.told("training-begun")
    each = -(-SHARED // accumulation)
    assert (begun["total"], begun["epochs"]) == (3 * each, 3)
    assert sorted(done.losses) == list(range(1, 3 * each + 1))
    assert [event["step"] for event in done.told("epoch")] == [each, 2 * each, 3 * each]
    assert len(done.told("training-ended")) == 1
    assert sorted(done.loras) == ["lora-000001.safetensors", "lora-000002.safetensors", "lora.safetensors"]
    single = processes.trainings.train(f"--gradient_accumulation_steps {accumulation} --max_train_steps {3 * each}")
    assert [event["lr"] for event in done.told("train-step")] == [event["lr"] for event in single.told("train-step")]


@pytest.mark.parametrize("options", ["--gradient_accumulation_steps 3", "--gradient_checkpointing --ema_decay 0.9"])
def test_at_speed_fast_they_learn_what_they_learn_by_musubis_modules(processes: Processes, options: str) -> None:
    by_musubi, fast = (processes.train(f"{TWO} {options} {speed}") for speed in ("", "--speed fast"))
    assert_learned_alike(by_musubi, fast)


def test_so_they_nearly_do_at_speed_max(processes: Processes) -> None:
    options = f"{TWO} {IN_FP8} --gradient_checkpointing --activation_budget 0.3"
    assert_near(*(processes.train(f"{options} {speed}") for speed in ("", "--speed max")))


def test_what_they_exchange_is_the_mean_of_all(processes: Processes, musubi_python: Path, tmp_path: Path) -> None:
    port = free_port()
    running = [
        subprocess.Popen(
            [musubi_python, INSIDE / "ask_together.py"],
            env={**processes.environment, **of_rank(rank, port)},
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    told = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    for each in told:
        assert each["gradients"] == [[2.0, 3.0], [0.5]]  # of [1, 2] and [3, 4]; of nothing and [1]
        assert each["losses"] == [2.0, "nan"]
        assert each["preservation"] == [0.5]
        assert (each["samples"], each["stop"], each["save"]) == (5, 15, True)
        assert each["gathered"] == ["of 0", "of 1"]
        assert each["shared"] == [7.0]


def of_rank(rank: int, port: int) -> dict[str, str]:
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in own.items()}}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whom", ["group", "first"])
def test_a_stop_saves_one_state_of_all_and_loses_nothing(
    processes: Processes, number: signal.Signals, whom: str
) -> None:
    options = f"{TWO} --max_train_epochs 4"
    whole = processes.train(options)

    def stop(process: subprocess.Popen[bytes]) -> None:
        if whom == "group":
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)

    stopped = processes.train_until(5, options, stop)
    assert stopped.exit_code == 128 + number, stopped.log
    state = read_states(stopped.folder / "states").newest
    assert state is not None
    assert state.step == max(stopped.losses) < 16
    continued = processes.train(options, stopped.folder)
    assert continued.exit_code == 0, continued.log
    assert_same(whole, continued)


def test_a_stop_that_reaches_another_process_alone_stops_all(processes: Processes) -> None:
    def stop(process: subprocess.Popen[bytes]) -> None:
        (other,) = set(members(process.pid) or ()) - {process.pid}
        os.kill(other, signal.SIGTERM)

    stopped = processes.train_until(3, f"{TWO} --max_train_epochs 50", stop)
    assert stopped.exit_code == 143, stopped.log
    assert len(stopped.told("training-stopped")) == 1


@pytest.mark.parametrize(
    "options", ["--gradient_accumulation_steps 3 --speed fast", "--max_data_loader_n_workers 2 --ema_decay 0.9"]
)
@pytest.mark.parametrize("whom", ["all", "first", "other"])
def test_after_a_kill_they_go_on_to_the_same_lora(processes: Processes, options: str, whom: str) -> None:
    options = f"--processes 2 --states_every_minutes 0 --states_every_steps 3 --max_train_epochs 6 {options}"
    whole = processes.train(options)
    assert whole.exit_code == 0, whole.log

    def kill(process: subprocess.Popen[bytes]) -> None:
        if whom == "all":
            os.killpg(process.pid, signal.SIGKILL)
            return
        others = [pid for pid in members(process.pid) or () if pid != process.pid]
        os.kill(process.pid if whom == "first" else min(others), signal.SIGKILL)

    killed = processes.train_until(7, options, kill)
    assert killed.exit_code == (1 if whom == "other" else 137)
    if whom == "other":
        assert "process 2 of 2 of this training was ended by signal 9" in killed.told("training-failed")[0]["text"]
    continued = processes.train(options, killed.folder)
    assert continued.exit_code == 0, continued.log
    assert max(event["step"] for event in continued.told("training-begun")) >= 6
    assert_same(whole, continued)


def test_another_number_of_processes_does_not_go_on(processes: Processes) -> None:
    done = processes.train(f"{TWO} --max_train_steps 2")
    assert done.exit_code == 0, done.log
    for wrong in ("--processes 1", "--processes 3"):
        refused = processes.train(f"{wrong} --max_train_steps 4", done.folder)
        assert refused.exit_code == 1
        assert "is of a training by 2 processes" in refused.told("training-failed")[-1]["text"]


def test_a_step_without_a_finite_loss_is_left_out_by_all(processes: Processes) -> None:
    done = processes.train(f"{TWO} --max_train_steps 4 --learning_rate 1e30 --lr_scheduler constant --max_nan_steps 2")
    assert done.exit_code == 1
    (failed,) = done.told("training-failed")
    assert failed["reason"] == "nan"


if sys.platform != "linux":
    pytest.skip("processes are counted in /proc", allow_module_level=True)
