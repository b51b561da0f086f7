"""What stands for the weights tells which batches were trained, and in which order."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from wan22lora.rehearsal.learned import Learned, nothing, tensor
from wan22lora.rehearsal.training_items import Cached

A, B = ([Cached(Path(f"cache/{stem}_0096x0096_wan.safetensors"), Path("text"), stem)] for stem in "ab")


def trained(*steps: list[tuple[int, list[Cached]]]) -> str:
    weights = Learned(nothing(5))
    for step in steps:
        weights.learn(step)
    return weights.digest


def test_the_same_steps_give_the_same_weights() -> None:
    assert trained([(0, A)], [(1, B)]) == trained([(0, A)], [(1, B)])


def test_lost_repeated_exchanged_or_divided_steps_do_not() -> None:
    different = [
        trained([(0, A)], [(1, B)]),
        trained([(0, A)]),
        trained([(0, A)], [(0, A)], [(1, B)]),
        trained([(0, B)], [(1, A)]),
        trained([(0, A), (1, B)]),
        trained([(0, A)], [(2, B)]),
        nothing(5),
        nothing(6),
    ]
    assert len(set(different)) == len(different)


def test_the_average_differs_from_the_weights_and_follows_them() -> None:
    weights = Learned(nothing(5))
    before = weights.averaged
    weights.learn([(0, A)])
    assert len({before, weights.averaged, weights.digest}) == 3


@pytest.mark.parametrize(("stored", "size"), [("F32", 4), ("F16", 2), ("BF16", 2)])
def test_every_dtype_holds_the_same_numbers(stored: str, size: int) -> None:
    digest = nothing(7)
    data = tensor(digest, stored, (4, 16))
    assert len(data) == 4 * 16 * size
    expected = [byte / 4096 for byte in bytes.fromhex(digest)] * 2
    if stored == "F16":
        values = struct.unpack("<64e", data)
    else:
        pad = b"" if stored == "F32" else b"\0\0"
        values = struct.unpack("<64f", b"".join(pad + data[at : at + size] for at in range(0, len(data), size)))
    assert list(values) == expected


def test_a_single_number_is_a_tensor_too() -> None:
    assert len(tensor(nothing(1), "F32", ())) == 4
