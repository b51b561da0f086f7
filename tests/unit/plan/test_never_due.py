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


@pytest.mark.parametrize("length", ["epochs: 2", "steps: 30"])
@pytest.mark.parametrize(("every", "told"), [(31, True), (30, False)])
def test_a_validation_that_comes_after_the_end(plan: Plan, length: str, every: int, told: bool) -> None:
    prepared = plan(f"{BASE}train: {{{length}}}\nvalidation: {{hold_out: 3, every_steps: {every}}}\n")
    assert prepared.batches_per_epoch == 15
    found = warnings(prepared)
    assert len(found) == told
    if told:
        assert "31 is more than the 30 steps of a training: items are held out for nothing" in found[0]
        assert found[0].startswith("run.yaml:6:27 validation.every_steps")


def test_a_validation_as_seldom_as_by_default_is_told_where_it_is_asked_for(plan: Plan) -> None:
    (found,) = warnings(plan(f"{BASE}train: {{steps: 40}}\nvalidation: {{hold_out: 3}}\n"))
    assert found.startswith("run.yaml:6:1 validation.every_steps")


@pytest.mark.parametrize(("warmup", "told"), [("37", True), ("36", False), ("0.5", False), ("50%", False)])
def test_a_learning_rate_that_never_comes_to_its_value(plan: Plan, warmup: str, told: bool) -> None:
    schedule = f"lr_scheduler: cosine, lr_warmup_steps: {warmup}"
    notes = plan(f"{BASE}train: {{epochs: 2, {schedule}}}\n").plan.notes
    found = [note.message for note in notes if "lr_warmup_steps" in note.where]
    whole = "37 is more than the 36 steps of a training: its learning rate ends at 97% of learning_rate"
    assert found == ([whole] if told else [])
