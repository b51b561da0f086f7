"""All checks in their order, each kept from spoiling the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wan22lora.doctor import (
    disk,
    gpu,
    musubi,
    packages,
    room,
    run_yaml,
    several_gpus,
    this_machine,
    torch_build,
    weights,
)
from wan22lora.doctor.check import Check
from wan22lora.doctor.facts import Facts, bug

Question = Callable[[Facts], Iterator[Check]]

GROUPS: tuple[tuple[str, tuple[Question, ...]], ...] = (
    # what is cheap to put right comes first
    ("The run", (run_yaml.run_yaml, run_yaml.dataset)),
    (
        "This machine",
        (
            this_machine.system,
            this_machine.own_python,
            this_machine.git,
            this_machine.settings,
            this_machine.variables,
            this_machine.accelerate_config,
        ),
    ),
    ("GPU", (gpu.driver, gpu.gpu, several_gpus.several_gpus, gpu.gpu_memory)),
    ("Memory and disk", (room.ram, room.shared_memory, disk.disk)),
    ("musubi-tuner", (musubi.checkout, packages.python, packages.packages, torch_build.torch, torch_build.compiling)),
    ("Weights", (weights.weights, weights.tokenizer)),
)


@dataclass(frozen=True)
class Group:
    """Checks under one title."""

    title: str
    checks: tuple[Check, ...]


def examine(facts: Facts, groups: Sequence[tuple[str, Sequence[Question]]] = GROUPS) -> tuple[Group, ...]:
    """Every check over the same facts. A check that fails by a bug is a warning."""
    found = [
        Group(title, tuple(check for question in questions for check in _answers(question, facts)))
        for title, questions in groups
    ]
    if facts.bugs:
        found.append(Group("wan22lora", facts.bugs))
    return tuple(group for group in found if group.checks)


def _answers(question: Question, facts: Facts) -> list[Check]:
    answers: list[Check] = []
    try:
        answers.extend(question(facts))
    except Exception as error:
        answers.append(bug(question.__name__.replace("_", "-"), error))
    return answers
