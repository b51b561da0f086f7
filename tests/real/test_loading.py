"""Experts whose weights are cast while they are read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from .asking import ask


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loading")


@pytest.fixture(scope="module")
def loaded(musubi_python: Path, environment: dict[str, str], place: Path) -> dict[str, Any]:
    return ask(musubi_python, environment, "ask_loading", place, "compare")


@pytest.mark.parametrize(
    ("file", "dtype"),
    [
        ("half to fp8", "float8_e4m3fn"),
        ("half to fp8, blocks swapped", "float8_e4m3fn"),
        ("prefixed to fp8", "float8_e4m3fn"),
        ("split to fp8", "float8_e4m3fn"),
        ("mixed to bf16", "bfloat16"),
        ("fp8 to bf16", "bfloat16"),
        ("half as it is", "float16"),
    ],
)
def test_the_weights_are_those_of_stock_musubi_bit_for_bit(loaded: dict[str, Any], file: str, dtype: str) -> None:
    assert loaded[file] == {"same": True, "dtypes": [f"torch.{dtype}"]}


def test_musubi_has_its_own_reader_back_after_a_failure(loaded: dict[str, Any]) -> None:
    assert loaded["put back"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told on Linux")
def test_loading_needs_ram_for_the_cast_weights_only(
    musubi_python: Path, environment: dict[str, str], place: Path
) -> None:
    ask(musubi_python, environment, "ask_loading", place, "cast")  # writes the file, too
    stock = ask(musubi_python, environment, "ask_loading", place, "stock")
    cast = ask(musubi_python, environment, "ask_loading", place, "cast")
    for each in (stock, cast):
        each["bytes of a weight"] = (each["peak"] - each["before"]) / each["weights"]
    print(stock, cast)
    # Stock holds 2 bytes of each weight as read and 1 as cast; here there are 1 and what one tensor needs.
    assert stock["bytes of a weight"] > 2.5
    assert cast["bytes of a weight"] < 1.3
