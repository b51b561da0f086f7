"""Which programs of a plan can be started before their turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from wan22lora.machine.settings import Machine
from wan22lora.plan.build import prepare
from wan22lora.plan.prepared import Prepared
from wan22lora.run.carry_out import read_history

RUN = "name: paper\npreset: style\ntrigger: paperworld\nimages: pictures\n"


def those_that_can(prepared: Prepared) -> list[str]:
    return [step.id for step in prepared.plan.steps if step.can_wait]


def test_the_trainer_of_this_project_can(plan: Callable[..., Prepared]) -> None:
    assert those_that_can(plan(RUN)) == ["train-high", "train-low"]


@pytest.mark.parametrize("more", ["trainer: plain\n", "pin: article\n"])
def test_musubis_own_program_cannot(plan: Callable[..., Prepared], more: str) -> None:
    assert those_that_can(plan(RUN + more)) == []


def test_a_stand_in_cannot(plan: Callable[..., Prepared]) -> None:
    assert those_that_can(plan(RUN, rehearsal=True)) == []


def test_one_that_starts_others_cannot(plan: Callable[..., Prepared], machine: Machine) -> None:
    spec = plan(f"{RUN}parallel: ddp\n").spec
    shared = prepare(spec, replace(machine, gpus=("0", "1")), read_history(spec.folder))
    assert shared.processes == 2
    assert those_that_can(shared) == []
