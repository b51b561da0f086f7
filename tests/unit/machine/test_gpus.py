from __future__ import annotations

from dataclasses import replace

import pytest

from wan22lora.machine.gpus import kind_of, usable_gpus
from wan22lora.machine.nvidia import Gpu, Nvidia

GIB = 2**30


def card(index: int, name: str = "A", *, free: int = 79) -> Gpu:
    return Gpu(index, f"GPU-{index}", name, 80 * GIB, free * GIB, (9, 0))


FOUR = Nvidia(driver="570.1", gpus=tuple(map(card, range(4))))


def test_a_person_who_names_gpus_gets_those_whatever_the_driver_says() -> None:
    assert usable_gpus(("2", "0"), FOUR) == ("2", "0")
    assert usable_gpus(("0", "1"), Nvidia()) == ("0", "1")
    assert usable_gpus(("GPU-3",), FOUR) == ("GPU-3",)
    assert usable_gpus(("1", "1"), FOUR) == ("1",)


def test_all_gpus_of_one_kind_are_usable() -> None:
    assert usable_gpus((), FOUR) == ("0", "1", "2", "3")


def test_one_that_somebody_computes_on_is_left_alone() -> None:
    busy = replace(FOUR, gpus=(card(0, free=3), card(1, free=60), card(2)))
    assert usable_gpus((), busy) == ("0", "2")  # the first is what a single training takes, too


def test_among_different_gpus_none_is_chosen_beside_the_first() -> None:
    assert usable_gpus((), replace(FOUR, gpus=(card(0), card(1, "B")))) == ("0",)


@pytest.mark.parametrize("gpus", [(), (card(0),)])
def test_a_machine_with_one_gpu_or_none_has_one(gpus: tuple[Gpu, ...]) -> None:
    assert usable_gpus((), Nvidia(gpus=gpus)) == ("0",)


def test_what_the_driver_does_not_tell_is_not_taken_for_idle() -> None:
    assert usable_gpus((), replace(FOUR, gpus=(card(0), replace(card(1), free=None)))) == ("0",)


def test_the_kind_of_a_gpu_is_its_name() -> None:
    assert kind_of("2", FOUR, {}) == kind_of("0,1", FOUR, {}) == kind_of("GPU-1", FOUR, {}) == "A"


@pytest.mark.parametrize("device", ["7", "MIG-1", "GPU-9", "", "0,7"])
def test_what_is_not_there_is_of_no_kind(device: str) -> None:
    assert kind_of(device, FOUR, {}) is None
    assert kind_of(device, Nvidia(), {}) is None


def test_among_different_gpus_a_number_says_something_only_where_cuda_counts_by_slot() -> None:
    mixed = replace(FOUR, gpus=(card(0), card(1, "B")))
    assert kind_of("1", mixed, {}) is None
    assert kind_of("1", mixed, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}) is None
    assert kind_of("1", mixed, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}) == "B"
    assert kind_of("GPU-1", mixed, {}) == "B"
    assert kind_of("0,1", mixed, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}) is None
