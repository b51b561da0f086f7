"""Whole trainings at `speed: fast` and `speed: max` learn what musubi's modules learn, whatever is asked of them."""

from __future__ import annotations

import json
import math
import signal
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from .command_line import CommandLine, write_pictures
from .environment import SmallModels
from .trainings import Moment, Trained, Trainings

RUN = """
name: {name}
preset: article-wan22
images: pictures
speed: {speed}
data: {{resolution: 64}}
models: {{high: {m.t2v_high}, low: {m.t2v_low}, vae: {m.vae}, t5: {m.t5}}}
train: {{epochs: 2, mixed_precision: "no", fp8_base: null, attention: sdpa, data_loader_workers: 0}}
"""
LOSS = 2e-5
"""Relative, in float32: measured up to 8.6e-6 in 50 steps. A LoRA that learns nothing is 4.7e-3 away there."""
LORA = 5e-3
"""Relative distance of LoRAs: measured up to 1.1e-3. Adam's first updates make of a gradient little but its sign."""
PRESERVING = "--preservation_weight 1 --preservation_folder class-0"
VALIDATING = "--held_out held-out.txt --validate_every_steps 3 --validation_timesteps 2"
FEW_LAYERS = "\"exclude_patterns=['.*']\" \"include_patterns=['.*self_attn.[qk].*','.*ffn.2.*']\""
VARIANTS = {
    "fifty steps": "--max_train_steps 50",
    "rank 1": "--network_dim 1 --network_alpha 1",
    "rank 64": "--network_dim 64 --network_alpha 16",
    "alpha": "--network_alpha 0.5",
    "loraplus": "--network_args loraplus_lr_ratio=4",
    "few layers": f"--network_args {FEW_LAYERS}",
    "limited norms": "--scale_weight_norms 0.02",
    "limited gradients": "--max_grad_norm 1e-3",
    "adafactor": "--optimizer_type adafactor",
    "average": "--ema_decay 0.9",
    "cast once": "--weights_cast_once 1",
    "checkpointing": "--gradient_checkpointing --activation_budget 0.3",
    "accumulation": "--gradient_accumulation_steps 3 --gradient_checkpointing --activation_budget 0.6",
    "preservation": f"{PRESERVING} --gradient_checkpointing --activation_budget 0.3",
    "rare preservation": f"{PRESERVING} --preservation_every 3 --network_dim 2 --network_alpha 1",
    "everything": f"--gradient_checkpointing --gradient_accumulation_steps 2 {PRESERVING} {VALIDATING}",
}
IN_FP8 = "--fp8_base --fp8_scaled"
NEAR = {
    "plain": "",
    "checkpointing": "--gradient_checkpointing --activation_budget 0.3",
    "transposed once": "--weights_cast_once 1",
    "rank 64": "--network_dim 64 --network_alpha 16",
    "loraplus on few layers": f"--network_args loraplus_lr_ratio=4 {FEW_LAYERS}",
    "everything": f"--gradient_checkpointing --gradient_accumulation_steps 2 {PRESERVING} {VALIDATING}",
}


def assert_learned_alike(by_musubi: Trained, fast: Trained) -> None:
    assert by_musubi.exit_code == fast.exit_code == 0, fast.log
    assert "speed: fast; not compiled" in fast.log
    assert by_musubi.losses.keys() == fast.losses.keys()
    for step, loss in by_musubi.losses.items():
        assert fast.losses[step] == pytest.approx(loss, rel=LOSS), step
    for event, other in zip(by_musubi.told("train-step"), fast.told("train-step"), strict=True):
        assert other.get("losses", {}) == pytest.approx(event.get("losses", {}), rel=LOSS, abs=1e-7)
        assert other["lr"] == pytest.approx(event["lr"], rel=LOSS)  # adafactor's comes of the weights
    for event, other in zip(by_musubi.told("validation"), fast.told("validation"), strict=True):
        assert other["loss"] == pytest.approx(event["loss"], rel=LOSS)
    loras = by_musubi.loras
    assert loras.keys() == fast.loras.keys()
    assert distance(learned(fast), learned(by_musubi)) < LORA


def learned(trained: Trained) -> array[float]:
    """The numbers of the LoRA that begin at zero, and those of its average if there is one."""
    numbers = array("f")
    for name, tensors in sorted(trained.loras.items()):
        if not name.startswith("lora-0"):
            for tensor, content in sorted(tensors.items()):
                if ".lora_up." in tensor:
                    numbers.frombytes(content)
    assert any(numbers)
    return numbers


def distance(one: array[float], other: array[float]) -> float:
    squares = math.fsum((a - b) ** 2 for a, b in zip(one, other, strict=True))
    return math.sqrt(squares / math.fsum(b * b for b in other))


def of_losses(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    assert one.keys() == other.keys()
    return math.sqrt(math.fsum((one[step] / loss - 1) ** 2 for step, loss in other.items()) / len(other))


@pytest.fixture(scope="module")
def plain(trainings: Trainings) -> Trained:
    """A training by musubi's modules with none of the variants."""
    return trainings.train("--max_train_steps 14")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_whole_training_learns_the_same(trainings: Trainings, plain: Trained, name: str) -> None:
    options = f"--max_train_steps 14 {VARIANTS[name]}"
    by_musubi = trainings.train(options)
    assert_learned_alike(by_musubi, trainings.train(f"{options} --speed fast"))
    memory_alone = name in ("cast once", "checkpointing", "average")
    assert memory_alone == (by_musubi.losses == plain.losses), "the options change what is learned, or should not"


def test_so_does_one_of_image_to_video(trainings: Trainings) -> None:
    options = f"--task i2v-A14B --dit {trainings.models.i2v_high} --min_timestep 900 --gradient_checkpointing"
    job = trainings.image_to_video_job
    by_musubi, fast = (trainings.train(f"{options} {speed}", job=job) for speed in ("", "--speed fast"))
    assert_learned_alike(by_musubi, fast)
    near, in_fp8 = (trainings.train(f"{options} {IN_FP8} {speed}", job=job) for speed in ("--speed max", ""))
    assert_near(in_fp8, near)


def test_in_bfloat16_it_stays_as_near_to_float32_as_musubi_does(trainings: Trainings) -> None:
    """Over 30 steps of two seeds: fast, measured over 50 steps of one, 1.356e-4 and musubi 1.362e-4."""
    losses, loras = {"musubi": 0.0, "fast": 0.0}, {"musubi": 0.0, "fast": 0.0}
    for seed in (5, 6):
        options = f"--max_train_steps 30 --seed {seed}"
        exact = trainings.train(options)
        for name, speed in (("musubi", "reference"), ("fast", "fast")):
            trained = trainings.train(f"{options} --mixed_precision bf16 --speed {speed}")
            losses[name] += of_losses(trained.losses, exact.losses) ** 2
            loras[name] += distance(learned(trained), learned(exact)) ** 2
    assert 1e-10 < losses["fast"] < 1.1 * losses["musubi"] < 1e-6, losses
    assert 1e-10 < loras["fast"] < 1.1 * loras["musubi"] < 1e-2, loras


def test_what_it_does_not_know_ends_the_trainer_before_the_first_step(trainings: Trainings) -> None:
    fast = trainings.train("--network_dropout 0.1 --speed fast")
    assert fast.exit_code == 1
    (failed,) = fast.told("training-failed")
    assert (failed["reason"], failed["text"]) == ("not-fast", "speed: fast does not know dropout in the LoRA")
    assert fast.losses == {}


def test_a_run_that_asks_for_it_learns_the_same(
    tmp_path: Path, command_line: Callable[..., CommandLine], small_models: SmallModels
) -> None:
    write_pictures(tmp_path / "pictures", [(64, 64)] * 3)
    wan22lora = command_line(tmp_path)
    losses = {}
    for speed in ("reference", "fast"):
        text = RUN.format(name=speed, speed=speed, m=small_models)
        (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
        finished = wan22lora("train", "run.yaml")
        assert finished.exit_code == 0, finished.output
        lines = (tmp_path / "runs" / speed / "events.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [event for event in map(json.loads, lines) if event["event"] == "train-step"]
        losses[speed] = [event["loss"] for event in steps]
        logs = (tmp_path / "runs" / speed / "logs").glob("*train*")
        assert any("speed: fast; not compiled" in log.read_text(encoding="utf-8") for log in logs) == (speed == "fast")
    assert len(losses["fast"]) == 12
    assert losses["fast"] == pytest.approx(losses["reference"], rel=2e-4)


def assert_near(reference: Trained, near: Trained) -> None:
    assert reference.exit_code == near.exit_code == 0, near.log
    assert "products in 8 bits" in near.log
    assert near.losses.keys() == reference.losses.keys()
    assert near.losses != reference.losses
    for event, other in zip(reference.told("train-step"), near.told("train-step"), strict=True):
        assert other["loss"] == pytest.approx(event["loss"], rel=1e-2)
    assert distance(learned(near), learned(reference)) < 0.5


@pytest.mark.parametrize("name", NEAR)
def test_speed_max_learns_within_a_hundredth(trainings: Trainings, name: str) -> None:
    options = f"--max_train_steps 50 {IN_FP8} {NEAR[name]}"
    assert_near(*(trainings.train(f"{options} --speed {speed}") for speed in ("reference", "max")))


def test_speed_max_says_that_it_needs_weights_in_8_bits(trainings: Trainings) -> None:
    trained = trainings.train("--speed max")
    (failed,) = trained.told("training-failed")
    assert (failed["reason"], failed["fix"]) == ("not-fast", "speed: fast")
    assert failed["text"] == "speed: max multiplies numbers of 8 bits, which do not go with weights in float32"


def test_speed_max_refuses_weights_that_musubi_streams_from_a_copy(trainings: Trainings) -> None:
    trained = trainings.train(f"{IN_FP8} --speed max --gradient_checkpointing --blocks_to_swap 1 --block_swap_h2d_only")
    (failed,) = trained.told("training-failed")
    assert failed["text"] == "speed: max does not know --block_swap_h2d_only with --fp8_scaled"
    assert trained.told("weights-loaded") == []


@pytest.mark.parametrize(
    "speed",
    [
        "fast",
        f"fast --gradient_accumulation_steps 2 --ema_decay 0.9 {PRESERVING} {VALIDATING}",
        f"max {IN_FP8} --gradient_checkpointing",
        f"max {IN_FP8} --gradient_checkpointing --activation_budget 0.3 --gradient_accumulation_steps 2 {PRESERVING}",
    ],
)
def test_a_killed_training_goes_on_to_the_same_lora(trainings: Trainings, speed: str) -> None:
    options = f"--speed {speed} --states_every_minutes 0 --states_every_steps 2"
    whole, folder = trainings.train(options), trainings.new()
    killed = trainings.train(options, folder, [Moment(60, ("loop._update", "outcomes."))])
    continued = trainings.train(options, folder)
    assert (killed.exit_code, continued.exit_code) == (-signal.SIGKILL, 0)
    assert continued.loras == whole.loras
    assert continued.losses == whole.losses


def test_a_training_goes_on_at_another_speed(trainings: Trainings) -> None:
    options, folder = "--states_every_minutes 0 --states_every_steps 2", trainings.new()
    whole = trainings.train(options)
    for moment, speed in ((60, "fast"), (60, "reference"), (None, "fast")):
        moments = [] if moment is None else [Moment(moment, ("loop._update", "outcomes."))]
        trained = trainings.train(f"{options} --speed {speed}", folder, moments)
    assert trained.exit_code == 0, trained.log
    for step, loss in whole.losses.items():
        assert trained.losses[step] == pytest.approx(loss, rel=2e-4)


def test_sample_pictures_are_made_under_fast_too_and_disturb_nothing(trainings: Trainings) -> None:
    fast = "--max_train_epochs 2 --states_every_minutes 0 --speed fast --activation_budget 0.5 --ema_decay 0.9"
    (trainings.job / "prompts.txt").write_text("a picture --w 32 --h 32 --f 1 --s 2 --d 7\n", encoding="utf-8")
    models = f"--vae {trainings.models.vae} --t5 {trainings.models.t5}"
    alone = trainings.train(fast)
    sampled = trainings.train(f"{fast} --sample_prompts prompts.txt --sample_every_n_steps 5 {models}")
    assert sampled.exit_code == 0, sampled.log
    assert [event["step"] for event in sampled.told("samples")] == [5, 10]
    assert (sampled.losses, sampled.loras) == (alone.losses, alone.loras)


@pytest.mark.parametrize("options", ["", "--save_every_n_steps 2 --states_every_steps 3 --ema_decay 0.9"])
def test_what_is_looked_at_later_is_told_in_the_same_order(trainings: Trainings, options: str) -> None:
    """A step that the GPU may still be at is told in the midst of the next one, but before all that follows it."""
    options = f"--max_train_epochs 2 --states_every_minutes 0 {options}"
    by_musubi, fast = (trainings.train(f"{options} --speed {speed}") for speed in ("reference", "fast"))
    told = [
        [(event["event"], event.get("step"), event.get("lr")) for event in each.events] for each in (by_musubi, fast)
    ]
    assert told[0] == told[1]
    assert [event["seconds"] for event in fast.told("train-step")].count(None) == 1
