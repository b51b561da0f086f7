"""Intervals that are longer than the run are told with the plan, once. The run has 18 batches an epoch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wan22lora.plan.prepared import Prepared

BASE = "name: paper\npreset: style\nimages: ./pictures\ntrigger: paperworld\n"
Plan = Callable[..., Prepared]


def warnings(prepared: Prepared) -> list[str]:
    found = [str(note) for note in prepared.plan.notes if note.level == "warning"]
    return [text for text in found if "every" in text.partition(" ")[2]]


@pytest.mark.parametrize(
    ("length", "every", "told"),
    [
        ("epochs: 2", 36, "36"),
        ("epochs: 2", 35, None),
        ("steps: 10, gradient_accumulation: 4", 40, "40"),
        ("steps: 10, gradient_accumulation: 4", 39, None),
    ],
)
def test_a_class_that_only_the_first_batch_preserves(plan: Plan, length: str, every: int, told: str | None) -> None:
    preservation = f"preservation: {{class: person, every: {every}}}"
    found = warnings(plan(f"{BASE}train: {{{length}, {preservation}}}\n"))
    if told is None:
        assert found == []
    else:
        (warning,) = found
        assert warning.startswith("run.yaml:5:")
        assert f"of the {told} batches of a training only the first preserves" in warning
        assert f"→ every: {int(told) // 10}" in warning


@pytest.mark.parametrize(("every", "told"), [(31, True), (30, False)])
def test_a_validation_that_comes_after_the_end(plan: Plan, every: int, told: bool) -> None:
    prepared = plan(f"{BASE}train: {{epochs: 2}}\nvalidation: {{hold_out: 3, every_steps: {every}}}\n")
    assert prepared.batches_per_epoch == 15
    found = warnings(prepared)
    assert len(found) == told
    if told:
        assert "31 is more than the 30 steps of a training: items are held out for nothing" in found[0]
        assert found[0].startswith("run.yaml:6:27 validation.every_steps")


@pytest.mark.parametrize("steps", [20, 200])
def test_a_validation_after_the_last_step_is_told_once(plan: Plan, steps: int) -> None:
    found = warnings(plan(f"{BASE}train: {{steps: {steps}}}\nvalidation: {{hold_out: 3, every_steps: 50}}\n"))
    assert len([text for text in found if "held out for nothing" in text]) == (steps == 20)
