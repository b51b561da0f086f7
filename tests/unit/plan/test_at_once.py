"""Trainings that a plan puts beside each other, each on a GPU of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from wan22lora.plan.at_once import at_once, trainings_at_once
from wan22lora.plan.model import Step
from wan22lora.plan.prepared import Prepared

PlanMaker = Callable[..., Prepared]
RUN = "name: paper\npreset: style\ntrigger: paperworld\nimages: pictures\n"


def beside(prepared: Prepared, *gpus: str, ram: int | None = None, cores: int = 8) -> Prepared:
    return at_once(prepared, gpus, cores=cores, ram_available=ram)


def steps(prepared: Prepared) -> dict[str, Step]:
    return {step.id: step for step in prepared.plan.steps}


def test_without_a_second_gpu_one_waits_for_the_other(plan: PlanMaker) -> None:
    prepared = plan(RUN)
    assert beside(prepared, "0") is prepared
    assert steps(prepared)["cache-text"].after == ("cache-latents",)
    assert steps(prepared)["train-low"].after == ("cache-latents", "cache-text", "train-high")
    assert trainings_at_once(prepared.plan) == ()


def test_with_two_each_has_its_own_and_waits_for_the_caches_alone(plan: PlanMaker) -> None:
    before = plan(RUN)
    after = beside(before, "0", "GPU-b", "2")
    for step, gpu in (("train-high", "0"), ("train-low", "GPU-b")):
        assert steps(after)[step].env["CUDA_VISIBLE_DEVICES"] == gpu
        assert steps(after)[step].after == ("cache-latents", "cache-text")
        assert steps(after)[step].argv == steps(before)[step].argv
        assert steps(after)[step].key == steps(before)[step].key
    assert steps(after)["cache-text"] == steps(before)["cache-text"]
    assert [step.id for step in trainings_at_once(after.plan)] == ["train-high", "train-low"]
    (note,) = (note for note in after.plan.notes if "at the same time" in note.message)
    assert note.message == "train-high on GPU 0 and train-low on GPU GPU-b train at the same time"
    assert "parallel: off" in note.fix


def test_it_can_be_turned_off(plan: PlanMaker) -> None:
    prepared = plan(f"{RUN}parallel: off\n")
    assert beside(prepared, "0", "1") is prepared


def test_one_training_alone_has_the_first_gpu(plan: PlanMaker) -> None:
    single = plan("name: paper\npreset: article-wan21\nimages: pictures\n")
    assert beside(single, "0", "1") is single
    prepared = plan(RUN)
    low = replace(prepared, plan=prepared.plan.only(frozenset({"train-low"})))
    assert beside(low, "0", "1") is low
    fresh = tuple(replace(step, fresh=step.id == "train-high") for step in prepared.plan.steps)
    half = replace(prepared, plan=replace(prepared.plan, steps=fresh))
    assert steps(beside(half, "0", "1"))["train-low"].env["CUDA_VISIBLE_DEVICES"] == "0"


def test_the_cpu_threads_are_shared(plan: PlanMaker) -> None:
    swapping = plan(f"{RUN}train: {{blocks_to_swap: 20}}\n")  # the machine has 7
    assert steps(beside(swapping, "0", "1", cores=8))["train-low"].env["OMP_NUM_THREADS"] == "4"
    assert steps(beside(swapping, "0", "1", cores=64))["train-low"].env["OMP_NUM_THREADS"] == "7"
    assert steps(beside(swapping, "0", "1", cores=1))["train-low"].env["OMP_NUM_THREADS"] == "1"


def test_ram_that_does_not_suffice_for_loading_both_is_told(plan: PlanMaker) -> None:
    def warned(text: str, ram: int | None) -> list[str]:
        notes = beside(plan(text), "0", "1", ram=ram).plan.notes
        return [note.message for note in notes if note.level == "warning" and "RAM" in note.message]

    swapping = f"{RUN}train: {{blocks_to_swap: 20}}\n"
    assert warned(swapping, 33 * 10**9) == [
        "loading 2 experts with swapped blocks at the same time takes 34 GB of RAM, and 33 GB are free"
    ]
    assert warned(swapping, 35 * 10**9) == []
    assert warned(swapping, None) == []
    assert warned(RUN, 10**9) == []
    assert warned(f"{swapping}trainer: plain\n", 87 * 10**9) != []


def test_each_process_of_one_expert_loads_through_ram(plan: PlanMaker) -> None:
    prepared = replace(plan(f"{RUN}train: {{blocks_to_swap: 20}}\nparallel: ddp\n"), processes=3)
    (note,) = (note for note in beside(prepared, "0", "1", "2", ram=50 * 10**9).plan.notes if "RAM" in note.message)
    assert note.message == (
        "loading an expert in 3 processes with swapped blocks at the same time takes 51 GB of RAM, and 50 GB are free"
    )
    assert beside(prepared, "0", "1", "2", ram=52 * 10**9) is prepared
