"""What a machine lacks for a plan, and what to type about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.machine.settings import Machine
from wan22lora.plan.lacking import lacking
from wan22lora.plan.prepared import Prepared


@pytest.mark.parametrize(("preset", "names"), [("style", ("t2v-high", "t2v-low")), ("i2v", ("i2v-high", "i2v-low"))])
def test_missing_weights_are_fetched_by_the_names_of_the_runs_task(
    plan: Callable[..., Prepared], machine: Machine, preset: str, names: tuple[str, str]
) -> None:
    prepared = plan(f"name: a\npreset: {preset}\nimages: pictures\n")
    fixes = [each.fix for each in lacking(prepared, machine) if each.where.startswith("models.")]
    assert fixes == [
        f"wan22lora models fetch {name}; or models: {{{role}: PATH}} in run.yaml"
        for name, role in zip(("vae", "t5", *names), ("vae", "t5", "high", "low"), strict=True)
    ]


def test_a_path_of_a_persons_own_is_not_to_be_fetched(
    plan: Callable[..., Prepared], machine: Machine, tmp_path: Path
) -> None:
    prepared = plan("name: a\npreset: style\nimages: pictures\nmodels: {high: mine.safetensors}\n")
    (told,) = (each for each in lacking(prepared, machine) if each.where == "run.yaml:4:10 models.high")
    assert (told.message, told.fix) == (f"{tmp_path / 'mine.safetensors'} is not there", "correct the path in run.yaml")


def test_a_file_that_both_experts_name_is_missed_once(plan: Callable[..., Prepared], machine: Machine) -> None:
    prepared = plan("name: a\npreset: style\nimages: pictures\ntrain: {network_weights: old.safetensors}\n")
    assert len([each for each in lacking(prepared, machine) if "network_weights" in each.where]) == 1
