"""Trainings that are killed and continued come to the LoRA of one that was not, bit for bit."""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping

import pytest

from .test_environment import read_safetensors
from .trainings import BATCHES, Moment, Trained, Trainings

STATES = "--states_every_minutes 0 --states_every_steps 2"
KINDS: Mapping[str, tuple[str, ...]] = {
    "within a batch": (
        "loop._backward",
        "loop._update",
        "outcomes.",
        "wan_train_network.call_dit",
        "wan_train_network._call_dit",
    ),
    "between batches": (
        *("loop._run_epoch", "loop._batches_left", "loop._train_on", "loop._after_update", "loop._end_epoch"),
        *("loop._restore_random", "loop._sample", "continuing.save", "continuing.due", "reporting.", "randomness."),
    ),
    "while a state is written": ("states._write", "states.save", "states._prune", "serialization._save", "disk."),
    "while a checkpoint is written": ("checkpoints.", "disk.write", "disk.to_disk", "metadata.checkpoint_metadata"),
}
"""Where the trainer is when it is killed: beginnings of a module's and a function's name."""
SEEDS = range(6)
"""Each kind is met with each, twice in a row: 48 kills."""


@pytest.fixture(scope="module")
def uninterrupted(trainings: Trainings) -> Trained:
    ended = trainings.train(STATES, count=True)
    assert ended.exit_code == 0, ended.log
    return ended


def train_with_kills(
    trainings: Trainings, options: str, lines: Mapping[str, int], places: tuple[str, ...], rng: random.Random
) -> tuple[Trained, list[tuple[Moment, int | None]]]:
    """Two kills at random, each of the process that continues, and then the rest."""
    total = sum(count for place, count in lines.items() if place.startswith(places))
    folder, kills = trainings.new(), []
    left = total
    for _ in range(2):
        moment = Moment(rng.randint(1, max(left, 2) * 3 // 4), places)
        kills.append((moment, trainings.train(options, folder, [moment]).exit_code))
        left -= moment.line
    return trainings.train(options, folder), kills


def assert_same(whole: Trained, broken: Trained) -> None:
    """The same files with the same tensors, and a ledger without gaps whose losses are the same."""
    assert broken.exit_code == 0, broken.log
    assert broken.loras.keys() == whole.loras.keys()
    different = [name for name, tensors in whole.loras.items() if broken.loras[name] != tensors]
    assert not different
    assert_gapless(broken)
    assert broken.losses == whole.losses
    last = {event["step"]: event for event in broken.told("train-step")}
    for event in whole.told("train-step"):
        for name in ("epoch", "total", "lr", "samples", "losses"):
            assert last[event["step"]].get(name) == event.get(name), (name, event)


def assert_gapless(trained: Trained) -> None:
    """Each process goes on after the step of the state that it tells, none later than what was reached."""
    reached = step = 0
    for event in trained.events:
        if event["event"] == "training-begun":
            assert event["step"] <= reached
            step = event["step"]
        elif event["event"] == "train-step":
            assert event["step"] == step + 1
            step = event["step"]
            reached = max(reached, step)
    assert step == trained.told("training-ended")[-1]["step"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_killed_twice_comes_to_the_same_lora(
    kind: str, seed: int, trainings: Trainings, uninterrupted: Trained
) -> None:
    rng = random.Random(f"{kind} {seed}")
    broken, kills = train_with_kills(trainings, STATES, uninterrupted.lines, KINDS[kind], rng)
    print(kind, [(moment.line, code) for moment, code in kills])
    assert [code for _, code in kills] == [-signal.SIGKILL] * 2
    assert_same(uninterrupted, broken)


MIXED = (
    "--gradient_accumulation_steps 3",
    "--gradient_accumulation_steps 2 --max_train_epochs 2 --num_timestep_buckets 4 --save_every_n_steps 3",
    "--max_train_steps 17 --network_dropout 0.3 --save_every_n_steps 2 --save_last_n_steps 6",
    "--max_data_loader_n_workers 2 --persistent_data_loader_workers",
    "--max_data_loader_n_workers 2 --gradient_accumulation_steps 2",
    "--ema_decay 0.9 --scale_weight_norms 0.5 --max_grad_norm 0",
    "--preservation_weight 0.7 --preservation_folder class-0 --preservation_probability 0.5 --ema_decay 0.9"
    " --held_out held-out.txt --validate_every_steps 3 --validation_timesteps 3 --gradient_accumulation_steps 2",
    "--optimizer_type adafactor --lr_scheduler constant",
    "--optimizer_type adafactor --optimizer_args relative_step=False scale_parameter=False --lr_scheduler linear",
    "--speed fast --ema_decay 0.9 --max_data_loader_n_workers 2",
    "--speed fast --max_train_steps 17 --save_every_n_steps 3 --num_timestep_buckets 4 --preservation_weight 0.7"
    " --preservation_folder class-0 --held_out held-out.txt --validate_every_steps 5",
)


@pytest.mark.parametrize("options", MIXED)
def test_so_does_one_with(options: str, trainings: Trainings) -> None:
    options = f"{STATES} {options}"
    whole = trainings.train(options, count=True)
    assert whole.exit_code == 0, whole.log
    places = tuple(place for kind in KINDS.values() for place in kind if not place.startswith(("disk", "serial")))
    broken, kills = train_with_kills(trainings, options, whole.lines, places, random.Random(options))
    print([(moment.line, code) for moment, code in kills])
    assert [code for _, code in kills] == [-signal.SIGKILL] * 2
    assert_same(whole, broken)


@pytest.mark.parametrize(
    "options", ["--num_timestep_buckets 7", "--num_timestep_buckets 3 --network_dropout 0.3", "--speed fast"]
)
def test_one_stopped_after_every_step_comes_to_the_same_lora(options: str, trainings: Trainings) -> None:
    """Timestep buckets are drawn from Python's generator, which each dataset seeds when an epoch first meets it."""
    options = f"--max_train_epochs 2 --states_every_minutes 0 {options}"
    whole, folder = trainings.train(options), trainings.new()
    stop = Moment(3, ("loop._after_update",), signal.SIGTERM)
    steps = max(whole.losses)
    for step in range(1, steps):
        stopped = trainings.train(options, folder, [stop])
        assert stopped.exit_code == 128 + signal.SIGTERM, stopped.log
        assert max(stopped.losses) == step
    assert_same(whole, trainings.train(options, folder))


SCHEDULERS = {
    "constant": "",
    "constant_with_warmup": "--lr_warmup_steps 4",
    "linear": "--lr_warmup_steps 2",
    "cosine": "--lr_warmup_steps 0.2",
    "cosine_with_restarts": "--lr_scheduler_num_cycles 3",
    "cosine_with_min_lr": "--lr_scheduler_min_lr_ratio 0.1 --lr_warmup_steps 2",
    "polynomial": "--lr_scheduler_power 2",
    "inverse_sqrt": "--lr_warmup_steps 3",
    "warmup_stable_decay": "--lr_warmup_steps 3 --lr_decay_steps 0.4",
    "rex": "--lr_warmup_steps 2",
    "piecewise_constant": """--lr_scheduler_args 'step_rules="1:4,0.1:9,0.01"'""",
    "of torch": "--lr_scheduler_type CosineAnnealingWarmRestarts --lr_scheduler_args T_0=5 T_mult=2",
    "of torch, cyclic": "--lr_scheduler_type OneCycleLR --lr_scheduler_args max_lr=0.004 total_steps=14",
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_schedule_goes_on(scheduler: str, trainings: Trainings) -> None:
    name = "" if scheduler.startswith("of torch") else f"--lr_scheduler {scheduler}"
    options = f"--max_train_epochs 2 --states_every_minutes 0 --states_every_steps 3 {name} {SCHEDULERS[scheduler]}"
    whole = trainings.train(options)
    assert whole.exit_code == 0, whole.log
    folder = trainings.new()
    step = random.Random(scheduler).randint(4, 2 * BATCHES - 1)
    killed = trainings.train(options, folder, [Moment(step, ("reporting.start_clock",))])
    assert killed.exit_code == -signal.SIGKILL, killed.log
    rates = {event["lr"] for event in whole.told("train-step")}
    assert len(rates) > 1 or scheduler == "constant"
    assert_same(whole, trainings.train(options, folder))


LIKE_PLAIN = (
    "",
    "--gradient_accumulation_steps 3 --max_train_epochs 2 --network_dropout 0.3",
    "--max_train_steps 10 --save_every_n_steps 4 --max_data_loader_n_workers 2 --persistent_data_loader_workers"
    " --num_timestep_buckets 5 --scale_weight_norms 0.5 --save_precision bf16 --training_comment 'a note'",
    "--no_metadata --weighting_scheme sigma_sqrt --max_grad_norm 0.01 --metadata_title T --metadata_author A",
    "--network_args verbose=False --optimizer_args weight_decay=0.1 --lr_scheduler rex --metadata_tags 'a, b'",
)
OF_THE_MOMENT = {
    *("ss_session_id", "ss_training_started_at", "ss_training_finished_at", "modelspec.date"),
    *("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash"),
}
"""Metadata that differ between two trainings with the same settings."""


@pytest.mark.parametrize("options", LIKE_PLAIN)
def test_the_files_are_those_of_musubis_own_program(options: str, trainings: Trainings) -> None:
    ours, plain = trainings.train(options), trainings.train_plain(options)
    assert (ours.exit_code, plain.exit_code) == (0, 0), ours.log + plain.log
    assert ours.loras == plain.loras
    for name in plain.loras:
        metadata = [read_safetensors(each.folder / name)[0] for each in (ours, plain)]
        assert metadata[0].keys() == metadata[1].keys()
        different = {key for key, value in metadata[0].items() if metadata[1][key] != value}
        assert different <= OF_THE_MOMENT


def test_validating_sampling_and_saving_disturb_no_random_state(trainings: Trainings) -> None:
    held_out = "--held_out held-out.txt --network_dropout 0.3 --max_train_epochs 2"
    alone = trainings.train(f"{held_out} --states_every_minutes 0")
    (trainings.job / "prompts.txt").write_text("a picture --w 32 --h 32 --f 1 --s 1 --d 7\n", encoding="utf-8")
    sampling = (
        f"--sample_prompts prompts.txt --sample_every_n_steps 5 --vae {trainings.models.vae} --t5 {trainings.models.t5}"
    )
    busy = trainings.train(f"{held_out} --states_every_steps 1 --validate_every_steps 1 {sampling}")
    assert busy.exit_code == 0, busy.log
    assert len(busy.told("validation")) == busy.told("training-ended")[0]["step"]
    assert all(len(event["paths"]) == 1 for event in busy.told("samples"))
    assert [event["step"] for event in busy.told("samples")] == [5, 10]
    assert busy.loras == alone.loras
    assert busy.losses == alone.losses


@pytest.mark.parametrize("first", ["--max_train_epochs 2", "--max_train_steps 10"])
@pytest.mark.parametrize("options", ["", "--gradient_accumulation_steps 2 --ema_decay 0.9"])
def test_a_longer_training_goes_on_where_a_shorter_one_ended(first: str, options: str, trainings: Trainings) -> None:
    """With a schedule that does not depend on the length."""
    options = f"--lr_scheduler constant_with_warmup --lr_warmup_steps 3 --states_every_minutes 0 {options}"
    whole = trainings.train(options)
    shorter = trainings.train(f"{options} {first}")
    assert shorter.exit_code == 0, shorter.log
    longer = trainings.train(options, shorter.folder)
    assert longer.exit_code == 0, longer.log
    assert longer.losses == whole.losses
    assert longer.loras == whole.loras
