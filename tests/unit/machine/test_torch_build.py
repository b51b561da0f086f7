from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.errors import MachineError
from wan22lora.machine.torch_build import BUILDS, Card, build_for, refusal


@pytest.mark.parametrize(
    ("name", "capability", "cuda", "expected"),
    [
        ("H100", (9, 0), (12, 8), "cu128"),
        ("H100", (9, 0), (13, 0), "cu130"),
        ("H100", (9, 0), (13, 2), "cu130"),
        ("RTX 4090", (8, 9), (12, 9), "cu128"),
        ("RTX 4090", (8, 9), (12, 6), "cu124"),
        ("RTX 4090", (8, 9), (12, 4), "cu124"),
        ("A100", (8, 0), (12, 0), "cu124"),
        ("RTX 5090", (12, 0), (12, 8), "cu128"),
        ("RTX 5090", (12, 0), (13, 0), "cu130"),
        ("B200", (10, 0), (12, 9), "cu128"),
        ("T4", (7, 5), (13, 0), "cu130"),
        ("V100", (7, 0), (13, 0), "cu124"),
    ],
)
def test_driver_and_gpu_choose_the_build(
    name: str, capability: tuple[int, int], cuda: tuple[int, int], expected: str
) -> None:
    assert build_for(Card(name, capability, cuda)) == expected


@pytest.mark.parametrize(
    ("name", "capability", "cuda", "words"),
    [
        ("RTX 5090", (12, 0), (12, 4), "the driver knows CUDA 12.4 and RTX 5090 needs 12.8"),
        ("RTX 3090", (8, 6), (11, 8), "the driver knows CUDA 11.8"),
    ],
)
def test_a_driver_that_is_too_old_is_refused_with_what_it_needs(
    name: str, capability: tuple[int, int], cuda: tuple[int, int], words: str
) -> None:
    with pytest.raises(MachineError, match="570 or newer") as refused:
        build_for(Card(name, capability, cuda))
    assert words in str(refused.value)


@given(
    st.tuples(st.integers(5, 12), st.integers(0, 9)),
    st.tuples(st.integers(10, 14), st.integers(0, 9)),
)
def test_what_is_chosen_is_never_refused(capability: tuple[int, int], cuda: tuple[int, int]) -> None:
    card = Card("a GPU", capability, cuda)
    try:
        assert not refusal(build_for(card), card)
    except MachineError:
        assert all(refusal(name, card) for name in BUILDS if name != "cpu")
