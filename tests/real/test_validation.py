"""The loss on held-out items, on the real model."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from .asking import ask, run_trainer
from .environment import SmallModels
from .test_environment import read_safetensors

TRAINING = shlex.split("""
--task t2v-A14B --sdpa --mixed_precision no --seed 5 --dataset_config dataset.toml --gradient_accumulation_steps 2
--network_module networks.lora_wan --network_dim 4 --network_alpha 4 --network_dropout 0.3
--optimizer_type AdamW --learning_rate 2e-3 --timestep_sampling shift --discrete_flow_shift 1.0
--preserve_distribution_shape --min_timestep 875 --max_timestep 1000 --max_train_epochs 2
--max_data_loader_n_workers 1 --output_dir loras --step_id train-high --ledger events.jsonl --held_out held-out.txt
""")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("validation")


@pytest.fixture(scope="module")
def answer(musubi_python: Path, environment: dict[str, str], small_models: SmallModels, place: Path) -> dict[str, Any]:
    return ask(musubi_python, environment, "ask_validation", place, small_models.t2v_high)


def test_held_out_items_are_not_trained_on(answer: dict[str, Any]) -> None:
    split = answer["split"]
    assert split["trained"] == sorted([0, 2, 3, 4, 10, 12, 13] * 2)
    assert split["items"] == [14, 8, 6]


def test_the_batches_are_those_of_a_dataset_without_them(answer: dict[str, Any]) -> None:
    split = answer["split"]
    # Two repeats in batches of two: 6 items of one shape and 2 of the other, then 6 of one shape.
    assert split["batches"] == [7, 4, 3]
    assert split["loader"] == 7
    assert split["max_train_steps"] == 14


def test_each_item_is_validated_in_the_middle_of_each_part_of_the_range(answer: dict[str, Any]) -> None:
    run = answer["run"]
    middles = [887.5, 912.5, 937.5, 962.5, 987.5]
    assert run["calls"] == [[[item], t + 1, True] for item in (1, 11, 14) for t in middles]
    edges = [875.0, 900.0, 925.0, 950.0, 975.0, 1000.0]
    assert [(each["low"], each["high"]) for each in run["first"]["bins"]] == list(itertools.pairwise(edges))


def test_the_loss_is_the_mean_over_items_and_parts(answer: dict[str, Any]) -> None:
    run = answer["run"]
    bins = [each["loss"] for each in run["first"]["bins"]]
    assert bins[0] == pytest.approx(run["expected"], rel=1e-5)
    assert run["first"]["loss"] == pytest.approx(sum(bins) / 5)


def test_the_same_weights_give_the_same_figures_in_spite_of_dropout(answer: dict[str, Any]) -> None:
    assert answer["run"]["first"] == answer["run"]["second"]
    assert answer["run"]["first"] != answer["run"]["other weights"]


def test_noise_differs_between_items_and_parts_and_never_changes(answer: dict[str, Any]) -> None:
    assert answer["noises"] == {"different": 15, "same": True}


def test_the_training_notices_nothing(answer: dict[str, Any]) -> None:
    run = answer["run"]
    assert run["random"]
    assert run["modes"]
    assert run["gradients"]


def test_a_stop_ends_it_between_two_passes(answer: dict[str, Any]) -> None:
    assert answer["run"]["stopped"] is None
    assert answer["run"]["left after stopping"] == 0
    assert answer["run"]["modes after stopping"]


def test_it_is_due_every_so_many_steps(answer: dict[str, Any]) -> None:
    assert answer["run"]["due"] == [4, 8, 12]


def test_a_clip_is_held_out_with_all_its_windows(answer: dict[str, Any]) -> None:
    windows = ["00000-005_0064x0064_wan.safetensors", "00005-005_0064x0064_wan.safetensors"]
    assert answer["clips"]["held out"] == [f"0/c_{window}" for window in windows]
    assert sorted(answer["clips"]["trained"]) == [f"b_{window}" for window in windows]


def test_a_name_without_caches_and_a_training_without_items_are_refused(answer: dict[str, Any]) -> None:
    absent, everything = answer["refusals"]
    assert "0/absent" in absent
    assert "none is left to train on" in everything


def test_a_training_with_validation_gives_the_same_lora(
    answer: dict[str, Any], musubi_python: Path, environment: dict[str, str], small_models: SmallModels, place: Path
) -> None:
    (place / "held-out.txt").write_text("0/a_1\n1/a_4\n", encoding="utf-8")
    loras = []
    for name, every in (("alone", "0"), ("validated", "2")):
        own = ["--output_name", name, "--states", f"states-{name}", "--validate_every_steps", every]
        run_trainer(musubi_python, environment, place, *TRAINING, "--dit", small_models.t2v_high, *own)
        loras.append(read_safetensors(place / "loras" / f"{name}.safetensors")[1])
    assert loras[0] == loras[1]
    events = map(json.loads, (place / "events.jsonl").read_text(encoding="utf-8").splitlines())
    validated = [event for event in events if event["event"] == "validation"]
    assert [event["step"] for event in validated] == [2, 4, 6, 8]
    assert [len(event["bins"]) for event in validated] == [8] * 4
    assert validated[-1]["loss"] < validated[0]["loss"]
