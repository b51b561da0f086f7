"""Signals to the trainer: what is kept, what it says, and that nothing is lost by them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

import wan22lora

from .test_exact_resume import assert_same
from .trainings import Moment, Trained, Trainings

TRAINER = Path(wan22lora.__file__).parent / "trainer"
NO_STATES = "--states_every_minutes 0"
BOTH = (signal.SIGINT, signal.SIGTERM)
BATCH = ("loop._backward", "loop._update", "outcomes.", "wan_train_network._call_dit")
BETWEEN = ("loop._run_epoch", "loop._batches_left", "loop._train_on", "loop._after_update", "loop._end_epoch")


def assert_stopped(stopped: Trained, number: signal.Signals) -> Path:
    """Stopped by the first signal with a state of the last step; the path of that state."""
    assert stopped.exit_code == 128 + number, stopped.log
    last = stopped.events[-1]
    assert (last["event"], last["signal"]) == ("training-stopped", number)
    assert last["step"] == max(stopped.losses)
    state = Path(last["state"])
    assert state.name == f"step-{last['step']:08d}"
    assert (state / "state.json").is_file()
    assert not list(state.parent.glob(".writing-*"))
    return state


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize(
    "options", ["", "--gradient_accumulation_steps 3", "--max_data_loader_n_workers 2", "--speed fast --ema_decay 0.9"]
)
def test_a_signal_finishes_the_batch_and_loses_nothing(
    options: str, number: signal.Signals, trainings: Trainings
) -> None:
    options = f"{NO_STATES} --max_train_epochs 2 {options}"
    whole = trainings.train(options, count=True)
    rng = random.Random(f"{options} {number}")
    for places in (BATCH, BETWEEN):
        total = sum(count for place, count in whole.lines.items() if place.startswith(places))
        folder = trainings.new()
        moments = [Moment(rng.randint(total // 3, total * 3 // 4), places, number, group=True)]
        stopped = trainings.train(options, folder, moments)
        assert_stopped(stopped, number)
        assert_same(whole, trainings.train(options, folder))


def test_one_within_an_accumulation_keeps_the_state_of_the_step_before(trainings: Trainings) -> None:
    options = f"{NO_STATES} --max_train_epochs 2 --gradient_accumulation_steps 3"
    folder = trainings.new()
    # The seven batches of an epoch come in steps of 3, 3 and 1: the fifth batch is the second of the second step.
    fifth = Moment(5, ("wan_train_network.scale_shift_latents",), signal.SIGTERM)
    stopped = trainings.train(options, folder, [fifth])
    assert assert_stopped(stopped, signal.SIGTERM).name == "step-00000001"
    assert_same(trainings.train(options), trainings.train(options, folder))


def test_one_before_the_first_step_is_done_saves_nothing_that_is_not_there(trainings: Trainings) -> None:
    options = f"{NO_STATES} --max_train_epochs 1 --gradient_accumulation_steps 3"
    folder = trainings.new()
    first = Moment(1, ("wan_train_network.scale_shift_latents",), signal.SIGTERM)
    stopped = trainings.train(options, folder, [first])
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert stopped.losses == {}
    assert stopped.events[-1]["step"] == 0
    assert_same(trainings.train(options), trainings.train(options, folder))


@pytest.mark.parametrize("number", BOTH)
def test_a_second_signal_ends_at_once(number: signal.Signals, trainings: Trainings) -> None:
    moments = [Moment(line, ("loop._backward",), number) for line in (150, 151)]
    ended = trainings.train(NO_STATES, moments=moments)
    assert ended.exit_code == 128 + number
    assert not ended.told("training-stopped")
    assert not ended.told("state")


@pytest.mark.parametrize("places", [("states._write",), ("serialization._save",), ("checkpoints._write",)])
def test_a_signal_while_something_is_written_lets_it_be_written(places: tuple[str, ...], trainings: Trainings) -> None:
    options = "--max_train_epochs 2 --states_every_steps 3 --save_every_n_steps 2"
    folder = trainings.new()
    stopped = trainings.train(options, folder, [Moment(7, places, signal.SIGTERM)])
    assert_stopped(stopped, signal.SIGTERM)
    assert_same(trainings.train(options), trainings.train(options, folder))


def test_one_while_sampling_breaks_the_sampling_off_and_leaves_the_checkpoint(trainings: Trainings) -> None:
    """Sampling comes at the same step as a checkpoint, which must not be missing afterwards."""
    (trainings.job / "prompts.txt").write_text("a picture --w 32 --h 32 --f 1 --s 20 --d 7\n", encoding="utf-8")
    options = (
        f"{NO_STATES} --max_train_epochs 2 --save_every_n_steps 5 --sample_every_n_steps 5"
        f" --sample_prompts prompts.txt --vae {trainings.models.vae} --t5 {trainings.models.t5}"
    )
    whole, folder = trainings.train(options), trainings.new()
    sampling = Moment(60, ("wan_train_network.do_inference",), signal.SIGTERM)
    stopped = trainings.train(options, folder, [sampling])
    assert assert_stopped(stopped, signal.SIGTERM).name == "step-00000005"
    assert not stopped.told("samples")
    assert_same(whole, trainings.train(options, folder))


def test_one_while_validating_ends_the_validation(trainings: Trainings) -> None:
    options = f"{NO_STATES} --max_train_epochs 2 --held_out held-out.txt --validate_every_steps 4"
    folder = trainings.new()
    stopped = trainings.train(options, folder, [Moment(20, ("validation._loss",), signal.SIGTERM)])
    assert_stopped(stopped, signal.SIGTERM)
    assert not stopped.told("validation")
    assert_same(trainings.train(options), trainings.train(options, folder))


@pytest.mark.parametrize("places", [("trainer_base._build_dataset",), ("loading.get_tensor",), ("continuing.take",)])
def test_one_while_loading_has_nothing_to_save(places: tuple[str, ...], trainings: Trainings) -> None:
    stopped = trainings.train(NO_STATES, moments=[Moment(1, places, signal.SIGINT)])
    assert stopped.exit_code == 128 + signal.SIGINT
    assert [event["event"] for event in stopped.events if event["event"] != "weights-loaded"] == ["training-stopped"]
    assert (stopped.events[-1]["step"], stopped.events[-1]["state"]) == (0, None)


def test_one_while_loading_a_state_leaves_it_for_the_next_start(trainings: Trainings) -> None:
    options = "--max_train_epochs 2 --states_every_steps 3"
    folder = trainings.new()
    trainings.train(options, folder, [Moment(1, ("reporting.start_clock",), signal.SIGTERM)])
    before = Trained(folder, 0).told("state")
    stopped = trainings.train(options, folder, [Moment(3, ("continuing.restore",), signal.SIGTERM)])
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert stopped.events[-1]["state"] == before[-1]["path"]
    assert_same(trainings.train(options), trainings.train(options, folder))


def test_one_at_the_end_lets_it_end(trainings: Trainings) -> None:
    options = f"{NO_STATES} --max_train_epochs 1"
    ended = trainings.train(options, moments=[Moment(2, ("loop._finish",), signal.SIGTERM, group=True)])
    assert ended.exit_code == 0
    assert ended.loras == trainings.train(options).loras


@pytest.mark.parametrize("number", BOTH)
def test_the_program_itself_stops_so_when_its_group_is_told_to(
    number: signal.Signals, trainings: Trainings, musubi_python: Path, environment: dict[str, str]
) -> None:
    """Without the tests' fork, with workers that stay, at a moment of the clock."""
    options = f"{NO_STATES} --max_train_epochs 400 --max_data_loader_n_workers 2 --persistent_data_loader_workers"
    folder = trainings.new()
    command = [str(musubi_python), str(TRAINER), *trainings.options(folder, options)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=trainings.job, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_for(process, folder, '"train-step"')

            os.killpg(process.pid, number)
            exit_code = process.wait(30)
        finally:
            process.kill()
    assert_stopped(Trained(folder, exit_code), number)


def wait_for(process: subprocess.Popen[bytes], folder: Path, text: str) -> None:
    ledger = folder / "events.jsonl"
    until = time.monotonic() + 60
    while not ledger.exists() or text not in ledger.read_text(encoding="utf-8"):
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("seconds", [0.6, 1.5, 2.5])
def test_the_program_itself_has_nothing_to_save_while_it_imports(
    seconds: float, trainings: Trainings, musubi_python: Path, environment: dict[str, str]
) -> None:
    folder = trainings.new()
    command = [str(musubi_python), str(TRAINER), *trainings.options(folder, NO_STATES)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=trainings.job, env=environment, stdout=log, stderr=log)
        until = time.monotonic() + 10
        while not (folder / "events.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
        exit_code = process.wait(30)
    stopped = Trained(folder, exit_code)
    assert stopped.exit_code == 128 + signal.SIGTERM, stopped.log
    assert (stopped.events[-1]["event"], stopped.events[-1]["state"]) == ("training-stopped", None)
