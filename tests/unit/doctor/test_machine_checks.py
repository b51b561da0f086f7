"""System, settings, variables, driver, GPU, RAM, shared memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from wan22lora.doctor import gpu, room, this_machine
from wan22lora.doctor.check import Check
from wan22lora.doctor.facts import Facts
from wan22lora.errors import Finding
from wan22lora.machine.nvidia import GpuProcess, Nvidia
from wan22lora.machine.ram import Ram
from wan22lora.spec.presets import hardware_for, read_hardware

from .conftest import GB, GIB, H100

Question = Callable[[Facts], Iterator[Check]]


def told(question: Question, facts: Facts, **changes: Any) -> Check:
    """The only thing that a check says."""
    (check,) = question(replace(facts, **changes))
    return check


@pytest.mark.parametrize(("system", "status"), [("Linux", None), ("Darwin", "warning"), ("Windows", "warning")])
def test_trainings_are_for_linux(healthy: Facts, system: str, status: str | None) -> None:
    checks = list(this_machine.system(replace(healthy, system=system)))
    assert [check.status for check in checks] == ([status] if status else [])


@pytest.mark.parametrize(("version", "status"), [((3, 10, 0), "ok"), ((3, 13, 9), "ok"), ((3, 14, 0), "warning")])
def test_untested_pythons_are_pointed_out(healthy: Facts, version: tuple[int, int, int], status: str) -> None:
    assert told(this_machine.own_python, healthy, python=version).status == status


def test_git_is_needed_only_until_musubi_is_there(healthy: Facts) -> None:
    assert told(this_machine.git, healthy, git=None).status == "warning"
    without = replace(healthy.checkout, state="missing")
    missing = told(this_machine.git, healthy, git=None, checkout=without)
    assert (missing.status, missing.fix) == ("failure", "sudo apt-get install git")


def test_a_broken_machine_yaml_is_a_failure_with_its_line(healthy: Facts) -> None:
    finding = Finding("machine.yaml:1:1 modles", "there is no such key", "keys: musubi, models")
    check = told(this_machine.settings, healthy, settings_problems=(finding,))
    assert (check.status, check.fix) == ("failure", "keys: musubi, models")
    assert "machine.yaml:1:1 modles" in check.text


@pytest.mark.parametrize(
    ("variables", "status", "fix"),
    [
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, "failure", "unset LOCAL_RANK WORLD_SIZE"),
        ({"PYTHONHOME": "/usr"}, "failure", "unset PYTHONHOME"),
        ({"CUDA_LAUNCH_BLOCKING": "1"}, "warning", "unset CUDA_LAUNCH_BLOCKING"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "warning", "unset ACCELERATE_USE_DEEPSPEED"),
    ],
)
def test_variables_that_spoil_runs_are_named(healthy: Facts, variables: dict[str, str], status: str, fix: str) -> None:
    check = told(this_machine.variables, healthy, variables=variables)
    assert (check.status, check.fix) == (status, fix)


@pytest.mark.parametrize("variables", [{}, {"PYTHONPATH": "/x"}, {"CUDA_LAUNCH_BLOCKING": "0"}, {"HOME": "/root"}])
def test_harmless_variables_are_not(healthy: Facts, variables: dict[str, str]) -> None:
    assert list(this_machine.variables(replace(healthy, variables=variables))) == []


def test_a_stray_accelerate_configuration_is_harmless(healthy: Facts) -> None:
    path = healthy.settings.with_name("default_config.yaml")
    check = told(this_machine.accelerate_config, healthy, accelerate_config=path)
    assert check.status == "ok"
    assert "own" in check.text


@pytest.mark.parametrize(
    ("trouble", "container", "said", "fix"),
    [
        ("no driver", False, "install the driver, or rent a machine", ""),
        ("no driver", True, "start the container", "docker run --gpus all …"),
        ("driver not loaded", False, "not loaded", "sudo modprobe nvidia"),
        ("driver changed", False, "updated", "sudo reboot"),
        ("not allowed", False, "may not use", "sudo usermod -aG video,render $USER"),
        ("other", False, "Fell Off The Bus", "nvidia-smi"),
    ],
)
def test_without_a_driver_there_is_one_clear_sentence(
    healthy: Facts, trouble: Any, container: bool, said: str, fix: str
) -> None:
    facts = replace(healthy, nvidia=Nvidia(trouble=trouble, detail="Fell Off The Bus"), container=container)
    (check,) = (*gpu.driver(facts), *gpu.gpu(facts), *gpu.gpu_memory(facts))
    assert (check.status, check.fix) == ("failure", fix)
    assert said in check.text


def test_the_gpu_is_named_with_memory_and_capability(healthy: Facts) -> None:
    check = told(gpu.gpu, healthy)
    assert check.text == "NVIDIA H100 80GB HBM3, 80.0 GiB, compute capability 9.0"


def test_small_and_old_cards_are_warned_of(healthy: Facts) -> None:
    small = replace(H100, name="RTX 3060", total=12 * GIB)
    assert "16 GB" in told(gpu.gpu, healthy, nvidia=Nvidia("1", (12, 8), (small,))).text
    old = replace(H100, name="Quadro RTX 8000", total=48 * GIB, capability=(7, 5))
    assert told(gpu.gpu, healthy, nvidia=Nvidia("1", (12, 8), (old,))).status == "warning"


def test_a_hidden_gpu_is_a_failure(healthy: Facts) -> None:
    check = told(gpu.gpu, healthy, machine=replace(healthy.machine, gpu="-1"))
    assert (check.status, check.fix) == ("failure", "export CUDA_VISIBLE_DEVICES=0")
    assert "0 (NVIDIA H100" in check.text


def test_other_programs_on_the_gpu_are_named_with_what_they_hold(healthy: Facts) -> None:
    users = (
        GpuProcess(41, "Xorg", 200 * 2**20),
        GpuProcess(42, "python main.py", 50 * GIB, own=True),
        GpuProcess(43, "", None),
    )
    busy = replace(H100, free=29 * GIB, processes=users)
    check = told(gpu.gpu_memory, healthy, nvidia=Nvidia("1", (12, 8), (busy,)))
    assert check.status == "warning"
    assert "python main.py (process 42) 50.0 GiB, Xorg (process 41) 0.2 GiB and a program (process 43)" in check.text
    assert check.fix == "kill 42"


def test_memory_held_by_programs_that_cannot_be_seen_is_told_too(healthy: Facts) -> None:
    busy = Nvidia("1", (12, 8), (replace(H100, free=29 * GIB),))
    check = told(gpu.gpu_memory, healthy, nvidia=busy)
    assert "cannot see" in check.text
    assert check.fix == "nvidia-smi"


def test_a_run_that_does_not_fit_beside_the_others_is_a_failure(with_run: Callable[..., Facts]) -> None:
    busy = Nvidia("1", (12, 8), (replace(H100, free=29 * GIB),))
    check = told(gpu.gpu_memory, with_run("trainer: plain", nvidia=busy))
    assert check.status == "failure"
    assert "Loading an expert takes about 41.1 GiB" in check.text
    assert "29.0 GiB are free" in check.text


def test_a_run_that_is_too_large_for_the_card_is_a_failure(with_run: Callable[..., Facts]) -> None:
    small = Nvidia("1", (12, 8), (replace(H100, total=24 * GIB, free=23 * GIB),))
    check = told(gpu.gpu_memory, with_run("trainer: plain\ntrain: {blocks_to_swap: 0}", nvidia=small))
    assert check.status == "failure"
    assert "the card has 24.0 GiB" in check.text
    assert told(gpu.gpu_memory, with_run("train: {blocks_to_swap: 0}", nvidia=small)).status == "ok"
    assert told(gpu.gpu_memory, with_run(nvidia=small)).status == "ok"  # hardware: auto swaps blocks


@pytest.mark.parametrize(
    ("text", "free", "status"),
    [
        ("", 30, "ok"),  # an H100 swaps nothing
        ("", 10, "failure"),  # the text encoder alone takes more
        ("train: {blocks_to_swap: 1}", 16, "failure"),
        ("train: {blocks_to_swap: 1}", 18, "ok"),
        ("train: {blocks_to_swap: 1, fp8_base: false}", 29, "failure"),
        ("train: {blocks_to_swap: 1, fp8_base: false}", 31, "ok"),
        ("trainer: plain\ntrain: {blocks_to_swap: 1}", 43, "failure"),
        ("trainer: plain\ntrain: {blocks_to_swap: 1}", 45, "ok"),
        ("hardware: 16gb", 16, "failure"),
        ("hardware: 24gb", 16, "ok"),
        ("hardware: 24gb\ntrainer: plain", 43, "failure"),
        ("task: t2v-14B\nexperts: {}\ntrain: {blocks_to_swap: 4}", 20, "ok"),  # its file holds 8 bits already
    ],
)
def test_ram_is_held_against_what_the_run_loads(
    with_run: Callable[..., Facts], text: str, free: int, status: str
) -> None:
    facts = with_run(text, ram=Ram(128 * GB, free * GB))
    assert facts.run is not None
    assert facts.run.problems == ()
    assert told(room.ram, facts).status == status


def test_a_containers_limit_is_called_one(with_run: Callable[..., Facts]) -> None:
    check = told(room.ram, with_run("train: {blocks_to_swap: 4}", ram=Ram(32 * GB, 30 * GB, limited=True)))
    assert "this container may use 32 GB" in check.text
    assert "`blocks_to_swap: 4` takes 17.0 GB" in check.text


def test_without_a_run_little_ram_is_a_warning_where_the_gpu_is_small(healthy: Facts) -> None:
    ram = Ram(32 * GB, 15 * GB)
    small = Nvidia("1", (12, 8), (replace(H100, total=24 * GIB),))
    assert told(room.ram, healthy, ram=ram).status == "ok"
    assert told(room.ram, healthy, ram=ram, nvidia=small).status == "warning"
    assert told(room.ram, healthy, ram=Ram(32 * GB, 9 * GB)).status == "warning"


def test_the_bounds_agree_with_the_hardware_presets() -> None:
    assert read_hardware("48gb")[0].images.blocks_to_swap is None
    assert read_hardware("48gb")[0].gpu_memory_gib * GIB == room._NEVER_SWAPS
    assert hardware_for(gpu._SMALLEST / GIB) is not None
    assert hardware_for(gpu._SMALLEST / GIB - 0.01) is None


def test_shared_memory_of_docker_is_enough_for_stills_and_not_for_large_batches(
    with_run: Callable[..., Facts], healthy: Facts
) -> None:
    assert healthy.shared_memory is not None
    docker = replace(healthy.shared_memory, total=67_108_864, free=67_108_864)
    assert told(room.shared_memory, healthy, shared_memory=docker).status == "ok"
    assert told(room.shared_memory, with_run(shared_memory=docker)).status == "ok"
    many = "data: {batch_size: 8}\ntrain: {data_loader_workers: 8}"
    check = told(room.shared_memory, with_run(many, shared_memory=docker, container=True))
    assert check.status == "failure"
    assert check.fix.startswith("docker run --shm-size=2g")
    nobody = "data: {batch_size: 8}\ntrain: {data_loader_workers: 0}"
    assert told(room.shared_memory, with_run(nobody, shared_memory=docker)).status == "ok"
