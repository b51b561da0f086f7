"""How much longer a step takes with preservation is told once, and rightly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wan22lora.plan.prepared import Prepared

BASE = "name: paper\npreset: style\nimages: ./pictures\ntrigger: paperworld\n"


def notes(prepared: Prepared) -> list[str]:
    return [str(note) for note in prepared.plan.notes if note.level == "note"]


@pytest.mark.parametrize(
    ("train", "times"),
    [
        ("preservation: {class: person}", "2.32"),
        ("preservation: {class: person, every: 5}", "1.26"),
        ("preservation: {class: person, probability: 0.2}", "1.26"),
        ("preservation: {class: person}, blocks_to_swap: 24", "2.70"),
        ("preservation: {class: person}, gradient_checkpointing: false", "2.33"),
        ("preservation: {class: person, every: 2}, gradient_checkpointing: false", "1.67"),
    ],
)
def test_a_step_takes_so_many_times_as_long(plan: Callable[..., Prepared], train: str, times: str) -> None:
    (note,) = notes(plan(f"{BASE}train: {{{train}}}\n"))
    assert f"makes a step take about {times} times as long" in note
    assert note.startswith("run.yaml:5")


def test_experts_that_differ_are_told_apart_in_one_line(plan: Callable[..., Prepared]) -> None:
    high, low = "preservation: {class: person}", "preservation: {class: person, every: 4}"
    (note,) = notes(plan(f"{BASE}experts: {{high: {{{high}}}, low: {{{low}}}}}\n"))
    assert "2.32 times (high) and 1.33 times (low)" in note
    (note,) = notes(plan(f"{BASE}experts: {{high: {{{high}}}}}\n"))
    assert "a step of the high-noise expert take about 2.32 times" in note


def test_without_preservation_nothing_is_said(plan: Callable[..., Prepared]) -> None:
    assert notes(plan(BASE)) == []
