"""`speed: fast` computes what musubi's modules compute, `speed: max` nearly: predictions, gradients and trainings."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .asking import ask
from .command_line import CommandLine, write_pictures
from .environment import SmallModels
from .trainings import Moment, Trainings

RUN = """
name: {name}
preset: article-wan22
images: pictures
speed: {speed}
data: {{resolution: 64}}
models: {{high: {m.t2v_high}, low: {m.t2v_low}, vae: {m.vae}, t5: {m.t5}}}
train: {{epochs: 2, mixed_precision: "no", fp8_base: null, attention: sdpa, data_loader_workers: 0}}
"""
FLOAT32 = 3e-6
"""Relative distance in float32: measured up to 1.6e-7 for predictions and 1.2e-6 for gradients."""


E4M3 = 0.02
"""Relative distance of a row from what quantising makes of it: three bits after the first."""


def assert_near(told: dict[str, float]) -> None:
    """Measured on 64 channels up to 0.055 for predictions and 0.19 for the gradients that are furthest away."""
    assert 1e-3 < told["prediction"] < 0.07, told
    assert 1e-3 < told["without the LoRA"] < 0.07, told
    assert 1e-3 < told["gradients"] < 0.3, told


@pytest.fixture(scope="module")
def answer(
    musubi_python: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    return ask(musubi_python, environment, "ask_fast", tmp_path_factory.mktemp("fast"), "eager")


def test_predictions_and_gradients_are_musubis(answer: dict[str, Any]) -> None:
    assert len(answer["distances"]) == 20
    for case, told in answer["distances"].items():
        assert max(told.values()) < FLOAT32, (case, told)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
def test_so_are_those_of_compiled_blocks(musubi_python: Path, environment: dict[str, str], tmp_path: Path) -> None:
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kernels")}
    told = ask(musubi_python, environment | cache, "ask_fast", tmp_path, "compiled")
    assert max(told["distances"]["compiled"].values()) < FLOAT32, told
    assert_near(told["fp8"])


def test_in_bfloat16_it_is_as_near_to_float32_as_musubi_is(answer: dict[str, Any]) -> None:
    for fast, musubi in zip(answer["bfloat16"]["fast"], answer["bfloat16"]["musubi"], strict=True):
        assert fast < 1.05 * musubi < 0.05


def test_products_in_8_bits_differ_by_what_quantising_takes(
    musubi_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    told = ask(musubi_python, environment, "ask_fast", tmp_path, "fp8")
    assert max(*told["product"]["once"], *told["product"]["for each use"]) < 1e-6, told
    assert all(1e-3 < distance < 1.5 * E4M3 for distance in told["product"]["rows"]), told
    assert told["distances"].keys() == {"none", "tensor", "row", "group"}
    for distances in told["distances"].values():
        assert_near(distances)
    assert told["results"] == ["torch.float16", "torch.bfloat16", "None"]


def test_what_is_kept_is_not_computed_again(answer: dict[str, Any]) -> None:
    # Products: q k v, o, cross q, cross k v, cross o, ffn in, ffn out. Compilers leave the last out.
    assert answer["computed again"] == [[7, 2], [6, 1], [5, 1], [2, 1], [1, 1], [1, 0]]


def test_a_lora_that_only_musubi_computes_leaves_the_model_as_it_was(answer: dict[str, Any]) -> None:
    assert answer["refused"] == {
        "dropout": ["dropout in the LoRA", True],
        "rank dropout": ["dropout in the LoRA", True],
    }


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--gradient_checkpointing --activation_budget 0.3",
        "--gradient_checkpointing --gradient_accumulation_steps 2 --preservation_weight 1 --preservation_folder class-0"
        " --held_out held-out.txt --validate_every_steps 3 --validation_timesteps 2",
    ],
    ids=["plain", "checkpointing", "everything"],
)
def test_a_whole_training_learns_the_same(trainings: Trainings, options: str) -> None:
    by_musubi, fast = trainings.train(options), trainings.train(f"{options} --speed fast")
    assert by_musubi.exit_code == fast.exit_code == 0, fast.log
    assert by_musubi.losses.keys() == fast.losses.keys()
    for step, loss in by_musubi.losses.items():
        assert fast.losses[step] == pytest.approx(loss, rel=2e-4)
    for event, other in zip(by_musubi.told("validation"), fast.told("validation"), strict=True):
        assert other["loss"] == pytest.approx(event["loss"], rel=2e-4)
    assert "speed: fast; not compiled" in fast.log


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


IN_FP8 = "--fp8_base --fp8_scaled"


@pytest.mark.parametrize("options", ["", "--gradient_checkpointing --activation_budget 0.3"])
def test_speed_max_learns_within_a_hundredth(trainings: Trainings, options: str) -> None:
    reference, near = (trainings.train(f"{options} {IN_FP8} --speed {speed}") for speed in ("reference", "max"))
    assert near.exit_code == 0, near.log
    assert "products in 8 bits" in near.log
    assert near.losses.keys() == reference.losses.keys()
    assert near.losses != reference.losses
    for step, loss in reference.losses.items():
        assert near.losses[step] == pytest.approx(loss, rel=1e-2)


def test_speed_max_says_that_it_needs_weights_in_8_bits(trainings: Trainings) -> None:
    trained = trainings.train("--speed max")
    (failed,) = trained.told("training-failed")
    assert (failed["reason"], failed["fix"]) == ("not-fast", "speed: fast")
    assert failed["text"] == "speed: max multiplies numbers of 8 bits, which do not go with weights in float32"


@pytest.mark.parametrize("speed", ["fast", f"max {IN_FP8} --gradient_checkpointing"])
def test_a_killed_training_goes_on_to_the_same_lora(trainings: Trainings, speed: str) -> None:
    options = f"--speed {speed} --states_every_minutes 0 --states_every_steps 2"
    whole, folder = trainings.train(options), trainings.new()
    killed = trainings.train(options, folder, [Moment(60, ("loop._update",))])
    continued = trainings.train(options, folder)
    assert (killed.exit_code, continued.exit_code) == (-signal.SIGKILL, 0)
    assert continued.loras == whole.loras
    assert continued.losses == whole.losses


def test_a_training_goes_on_at_another_speed(trainings: Trainings) -> None:
    options, folder = "--states_every_minutes 0 --states_every_steps 2", trainings.new()
    whole = trainings.train(options)
    for moment, speed in ((60, "fast"), (60, "reference"), (None, "fast")):
        moments = [] if moment is None else [Moment(moment, ("loop._update",))]
        trained = trainings.train(f"{options} --speed {speed}", folder, moments)
    assert trained.exit_code == 0, trained.log
    for step, loss in whole.losses.items():
        assert trained.losses[step] == pytest.approx(loss, rel=2e-4)
