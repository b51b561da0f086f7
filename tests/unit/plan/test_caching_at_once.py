"""Latents and captions at the same time: only where what was measured says that it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wan22lora.plan.caching_at_once import RAM_BESIDE_T5, caching_at_once
from wan22lora.plan.prepared import Prepared
from wan22lora.spec.tasks import TASKS

RUN = "name: paper\npreset: style\ntrigger: paperworld\nimages: pictures\n"
T5_BYTES = 1000
ENOUGH = T5_BYTES + RAM_BESIDE_T5


@pytest.fixture
def prepared(plan: Callable[..., Prepared], tmp_path: Path) -> Callable[..., Prepared]:
    """A run on a GPU of 80 GB, with its VAE and T5 there."""
    (tmp_path / "t5.pth").write_bytes(bytes(T5_BYTES))
    (tmp_path / "vae.safetensors").touch()

    def prepare(more: str = "", hardware: str = "80gb", run: str = RUN) -> Prepared:
        made = plan(f"{run}hardware: {hardware}\n{more}")
        there = {name: replace(made.weights[name], path=path) for name, path in paths.items()}
        return replace(made, weights={**made.weights, **there})

    paths = {"t5": tmp_path / "t5.pth", "vae": tmp_path / "vae.safetensors"}
    return prepare


def is_at_once(prepared: Prepared, cores: int = 8, ram: int | None = ENOUGH) -> bool:
    put = caching_at_once(prepared, cores=cores, ram_available=ram)
    if put is prepared:
        return False
    before, after = ({step.id: step for step in each.plan.steps} for each in (prepared, put))
    assert after["cache-text"] == replace(before["cache-text"], after=())
    others = before.keys() - {"cache-text"}
    assert all(after[step] == before[step] for step in others)
    assert {"cache-latents", "cache-text"} <= {*after["train-high"].after}
    return True


def test_a_large_gpu_encodes_both_and_the_trainings_wait_for_both(prepared: Callable[..., Prepared]) -> None:
    assert is_at_once(prepared("data: {resolution: 960}\n"))
    assert is_at_once(prepared(hardware="48gb"))


@pytest.mark.parametrize("hardware", ["16gb", "24gb"])
def test_a_small_one_does_not(prepared: Callable[..., Prepared], hardware: str) -> None:
    assert not is_at_once(prepared(hardware=hardware))


def test_nor_does_a_machine_with_little_ram_or_few_cores(prepared: Callable[..., Prepared]) -> None:
    assert not is_at_once(prepared(), ram=ENOUGH - 1)
    assert not is_at_once(prepared(), ram=None)
    assert not is_at_once(prepared(), cores=3)


@pytest.mark.parametrize(
    "more",
    [
        "data: {resolution: 976}\n",
        "data: {resolution: 960, batch_size: 2}\n",
        "musubi: {cache-latents: {vae_cache_cpu: true}}\n",
        "musubi: {cache-text: {batch_size: 16}}\n",
        "parallel: off\n",
    ],
)
def test_what_was_not_measured_is_encoded_one_after_the_other(prepared: Callable[..., Prepared], more: str) -> None:
    assert not is_at_once(prepared(more))


def test_a_task_that_was_not_measured_neither(prepared: Callable[..., Prepared]) -> None:
    run = prepared()
    assert not is_at_once(replace(run, spec=replace(run.spec, task=TASKS["i2v-A14B"])))


def test_one_that_is_fresh_is_not_waited_beside(prepared: Callable[..., Prepared]) -> None:
    run = prepared()
    for fresh in ("cache-latents", "cache-text"):
        steps = tuple(replace(step, fresh=step.id == fresh) for step in run.plan.steps)
        assert not is_at_once(replace(run, plan=replace(run.plan, steps=steps)))


@pytest.mark.parametrize("name", ["t5", "vae"])
def test_weights_that_are_on_their_way_are_waited_for(prepared: Callable[..., Prepared], name: str) -> None:
    run = prepared()
    run.weights[name].path.unlink()
    assert not is_at_once(run)
