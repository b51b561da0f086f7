"""Machines with several GPUs: which of them a run uses, what that takes, and what to type where they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from wan22lora.doctor import gpu, room
from wan22lora.doctor.check import Check
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.several_gpus import several_gpus
from wan22lora.machine.nvidia import GpuProcess, Nvidia
from wan22lora.machine.ram import Ram

from .conftest import GB, GIB, H100

RTX = replace(H100, uuid="GPU-9999", name="NVIDIA GeForce RTX 4090", total=24 * GIB, free=23 * GIB)
BY_SLOT = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
Make = Callable[..., Facts]


def gpus(*cards: Any) -> Nvidia:
    found = tuple(replace(card, index=index, uuid=f"GPU-{index}") for index, card in enumerate(cards))
    return Nvidia("570.86.15", (12, 8), found)


PAIR, MIXED = gpus(H100, H100), gpus(H100, RTX)


def named(facts: Facts, *devices: str) -> Any:
    return replace(facts.machine, gpu=devices[0], gpus=devices)


def of(checks: Any, name: str) -> list[Check]:
    return [check for check in checks if check.name == name]


def test_different_gpus_may_be_numbered_differently(healthy: Facts) -> None:
    (order,) = several_gpus(replace(healthy, nvidia=MIXED))
    assert (order.name, order.status, order.fix) == ("gpu-order", "warning", "export CUDA_DEVICE_ORDER=PCI_BUS_ID")
    (settled,) = several_gpus(replace(healthy, nvidia=MIXED, variables=BY_SLOT))
    assert settled.status == "ok"
    assert "a run uses GPU 0; the others are of another kind, and not used unless" in settled.text
    by_name = replace(healthy, nvidia=MIXED, machine=named(healthy, "GPU-1"))
    assert [check.status for check in several_gpus(by_name)] == ["ok"]


def test_one_gpu_has_nothing_to_be_said_of(healthy: Facts, with_run: Make) -> None:
    assert list(several_gpus(healthy)) == list(several_gpus(with_run())) == []
    assert list(several_gpus(replace(healthy, nvidia=Nvidia(trouble="no driver")))) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the two experts of a run train at the same time, on GPU 0 and GPU 1"),
        ("parallel: off", "a run uses GPU 0 (CUDA_VISIBLE_DEVICES chooses others)"),
        ("parallel: ddp", "each expert trains over GPU 0 and 1"),
        ("task: t2v-14B\nexperts: {}", "a run uses GPU 0 (CUDA"),
    ],
)
def test_it_is_said_which_gpus_the_run_uses(with_run: Make, text: str, said: str) -> None:
    (check,) = several_gpus(with_run(text, nvidia=PAIR))
    assert check.status == "ok"
    assert said in check.text


@pytest.mark.parametrize(
    ("nvidia", "devices", "why", "fix"),
    [
        (gpus(H100), (), "this machine has one", "parallel: experts in run.yaml"),
        (PAIR, ("1",), "CUDA_VISIBLE_DEVICES names no other", "export CUDA_VISIBLE_DEVICES=0,1, or parallel: experts"),
        (MIXED, (), "the others are of another kind", "export CUDA_VISIBLE_DEVICES=0,1, or parallel: experts"),
        (
            gpus(H100, replace(H100, free=9 * GIB)),
            (),
            "the others are in use by other programs",
            "export CUDA_VISIBLE_DEVICES=0,1, or parallel: experts",
        ),
    ],
)
def test_one_gpu_cannot_share_batches(
    with_run: Make, healthy: Facts, nvidia: Nvidia, devices: tuple[str, ...], why: str, fix: str
) -> None:
    machine = named(healthy, *devices) if devices else healthy.machine
    facts = with_run("parallel: ddp", nvidia=nvidia, machine=machine, variables=BY_SLOT)
    (check,) = of(several_gpus(facts), "gpu-parallel")
    assert check.status == "failure"
    assert why in check.text
    assert check.fix.startswith(fix)


def test_two_that_share_batches_are_planned_with_two(with_run: Make) -> None:
    facts = with_run("parallel: ddp", nvidia=PAIR)
    assert facts.run is not None
    assert facts.run.prepared is not None
    assert facts.run.prepared.processes == 2
    assert of(several_gpus(facts), "gpu-parallel") == []


def test_different_gpus_that_share_batches_wait_for_the_slowest(with_run: Make, healthy: Facts) -> None:
    facts = with_run("parallel: ddp", nvidia=MIXED, machine=named(healthy, "0", "1"), variables=BY_SLOT)
    (check,) = of(several_gpus(facts), "gpu-parallel")
    assert (check.status, check.fix) == ("warning", "parallel: experts in run.yaml")
    assert "GPU 0 is NVIDIA H100 80GB HBM3 and GPU 1 is NVIDIA GeForce RTX 4090" in check.text
    three = gpus(H100, RTX, H100)
    facts = with_run("parallel: ddp", nvidia=three, machine=named(healthy, "0", "1", "2"), variables=BY_SLOT)
    (check,) = of(several_gpus(facts), "gpu-parallel")
    assert check.fix == "export CUDA_VISIBLE_DEVICES=0,2, or parallel: experts in run.yaml"


def test_different_gpus_may_train_an_expert_each(with_run: Make, healthy: Facts) -> None:
    facts = with_run(nvidia=MIXED, machine=named(healthy, "0", "1"), variables=BY_SLOT)
    (check,) = of(several_gpus(facts), "gpu-parallel")
    assert check.status == "ok"
    assert "as long as the slower one, with the memory settings of the smaller one" in check.text


def test_a_second_gpu_that_is_not_there_is_a_failure(with_run: Make, healthy: Facts) -> None:
    facts = with_run(nvidia=PAIR, machine=named(healthy, "0", "5"))
    first, second = gpu.gpu(facts)
    assert (first.status, second.status) == ("ok", "failure")
    assert "CUDA_VISIBLE_DEVICES names 5, and this machine has GPU 0 (NVIDIA H100" in second.text
    assert second.fix == "export CUDA_VISIBLE_DEVICES=0"
    off = with_run("parallel: off", nvidia=PAIR, machine=named(healthy, "0", "5"))
    assert [check.status for check in gpu.gpu(off)] == ["ok"]


@pytest.mark.parametrize(("text", "looked_at"), [("", 2), ("parallel: ddp", 2), ("parallel: off", 1)])
def test_the_memory_of_every_gpu_that_trains_is_looked_at(
    with_run: Make, healthy: Facts, text: str, looked_at: int
) -> None:
    held = GpuProcess(42, "python main.py", 70 * GIB, own=True)
    busy = gpus(H100, replace(H100, free=9 * GIB, processes=(held,)))
    checks = list(gpu.gpu_memory(with_run(text, nvidia=busy, machine=named(healthy, "0", "1"))))
    assert [check.status for check in checks] == ["ok", "failure"][:looked_at]
    if looked_at == 2:
        assert checks[1].text.startswith("GPU 1: The largest batch takes about ")
        assert checks[1].fix == "kill 42"


@pytest.mark.parametrize(
    ("text", "free", "status", "fix"),
    [
        ("hardware: 16gb", 33, "failure", "or parallel: off in run.yaml"),
        ("hardware: 16gb", 35, "ok", ""),
        ("hardware: 16gb\nparallel: off", 18, "ok", ""),
        ("hardware: 16gb\nparallel: ddp", 33, "failure", "or parallel: experts in run.yaml"),
        ("hardware: 16gb\nparallel: ddp", 35, "ok", ""),
        ("", 20, "ok", ""),  # captions alone take 12.5 GB
    ],
)
def test_blocks_that_wait_in_ram_take_it_for_each_that_loads(
    with_run: Make, text: str, free: int, status: str, fix: str
) -> None:
    (check,) = room.ram(with_run(text, nvidia=PAIR, ram=Ram(64 * GB, free * GB)))
    assert check.status == status, check
    assert check.fix.endswith(fix)


def test_a_machine_that_is_too_small_for_both_is_told_what_to_write(with_run: Make) -> None:
    (check,) = room.ram(with_run("hardware: 16gb", nvidia=PAIR, ram=Ram(32 * GB, 30 * GB)))
    assert (
        "Training both experts at the same time (loading an expert with `blocks_to_swap: 12`) takes 34 GB" in check.text
    )
    assert check.fix == "parallel: off in run.yaml, or a machine, or a container, with more RAM"
