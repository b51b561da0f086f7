"""Differential output preservation on the real model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .asking import ask
from .environment import SmallModels

WAYS = ["plain", "checkpointing", "dropout"]


@pytest.fixture(scope="module")
def answer(
    musubi_python: Path,
    environment: dict[str, str],
    small_models: SmallModels,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("preservation")
    return ask(musubi_python, environment, "ask_preservation", place, small_models.t2v_high)


@pytest.mark.parametrize("way", WAYS)
def test_an_untrained_lora_has_nothing_to_preserve(answer: dict[str, Any], way: str) -> None:
    assert answer["losses"][way]["untrained"] == 0.0


@pytest.mark.parametrize("way", ["plain", "checkpointing"])
def test_the_loss_is_the_distance_from_the_model_without_a_lora(answer: dict[str, Any], way: str) -> None:
    told = answer["losses"][way]
    assert told["loss"] > 1e-6
    assert told["loss"] == pytest.approx(told["expected"], rel=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_its_gradients_reach_the_whole_lora_and_nothing_else(answer: dict[str, Any], way: str) -> None:
    assert answer["losses"][way]["every upper half has a gradient"]
    assert answer["losses"][way]["model has none"]


@pytest.mark.parametrize("way", WAYS)
def test_the_batchs_own_loss_and_gradients_are_those_without_preservation(answer: dict[str, Any], way: str) -> None:
    told = answer["losses"][way]
    assert told["same primary pass"]
    assert told["random state untouched"]
    assert told["multiplier"] == 1.0


def test_the_lora_is_on_again_after_an_exception(answer: dict[str, Any]) -> None:
    assert answer["exception"] == {"during": [0.0], "after": [0.7], "random": True}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_item_brings_its_own_class_prompt(answer: dict[str, Any], workers: str) -> None:
    batches = answer["prompts"][workers]
    assert {tuple(shape[3:]) for shape, _, _ in batches} == {(8, 8), (8, 12)}
    for shape, captions, classes in batches:
        assert shape[0] == len(captions)
        assert classes == [500 + number for number in captions]
    numbers = [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    assert sorted(number for _, captions, _ in batches for number in captions) == sorted(numbers * 4)


def test_a_missing_class_prompt_is_named_before_training(answer: dict[str, Any]) -> None:
    assert "cache/1/class-0badcafe/a_2_wan_te.safetensors" in answer["refused"]
    assert "wan22lora cache --only-text" in answer["refused"]


def test_which_batches_preserve_depends_on_seed_and_number_alone(answer: dict[str, Any]) -> None:
    each, every, share, other_seed = (told["chosen"] for told in answer["due"])
    assert each == list(range(2000))
    assert every == list(range(0, 2000, 4))
    assert len(share) == pytest.approx(500, abs=80)
    assert len(other_seed) == pytest.approx(500, abs=80)
    assert share != other_seed


def test_rarer_does_not_mean_weaker(answer: dict[str, Any]) -> None:
    assert [told["factor"] for told in answer["due"]] == [2, 8, 4, 4]
