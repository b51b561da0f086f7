"""`speed: fast` computes what musubi's modules compute, `speed: max` nearly: predictions and gradients."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from .asking import ask

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
    assert told["random states read"] == 0, "attention drops nothing, and saving that state takes longer than a product"


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


def test_timesteps_are_embedded_as_musubi_embeds_them(answer: dict[str, Any]) -> None:
    assert answer["embedded alike"]


def test_what_is_kept_is_not_computed_again(answer: dict[str, Any]) -> None:
    # Products: q k v, o, cross q, cross k v, cross o, ffn in, ffn out. Compilers leave the last out.
    assert answer["computed again"] == [[7, 2], [6, 1], [5, 1], [2, 1], [1, 1], [1, 0]]


def test_a_lora_that_only_musubi_computes_leaves_the_model_as_it_was(answer: dict[str, Any]) -> None:
    assert answer["refused"] == {
        "dropout": ["dropout in the LoRA", True],
        "rank dropout": ["dropout in the LoRA", True],
    }


def test_blocks_that_wait_in_ram_change_nothing(
    musubi_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    told: Any = ask(musubi_python, environment, "ask_swapped", tmp_path)
    assert len(told) == 22
    for case in told:
        assert case["moves"] >= 12, case
        assert case["same"], case
