"""Preservation and validation of a rehearsal: when they are due, and numbers that a person would believe."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from wan22lora.rehearsal.extras import HeldOut, Preservation, Validation
from wan22lora.rehearsal.loss import LossCurve
from wan22lora.rehearsal.training_items import Cached
from wan22lora.trainer.failing import TrainingFailed


def training(**changes: object) -> Namespace:
    values: dict[str, object] = {
        "seed": 5,
        "min_timestep": 875,
        "max_timestep": 1000,
        "preservation_every": 1,
        "preservation_probability": 1.0,
        "validate_every_steps": 50,
        "validation_timesteps": 4,
        "held_out": "",
    }
    return Namespace(**(values | changes))


def test_every_so_many_batches_preserve() -> None:
    due = [Preservation(training(preservation_every=3)).due(number) for number in range(7)]
    assert due == [True, False, False, True, False, False, True]


def test_a_share_of_the_batches_preserves_the_same_in_each_process() -> None:
    first, second = (
        [Preservation(training(preservation_probability=0.25)).due(number) for number in range(2000)] for _ in range(2)
    )
    assert first == second
    assert 400 < sum(first) < 600


def test_the_preservation_loss_begins_at_zero_and_grows() -> None:
    preservation = Preservation(training())
    assert preservation.loss(0, 0.0) == 0
    early, late = (sum(preservation.loss(number, progress) for number in range(100)) for progress in (0.1, 0.9))
    assert 0 < early < late


def test_validation_falls_and_its_bins_cover_the_experts_timesteps() -> None:
    args = training()
    validation = Validation(args, LossCurve(args))
    (first, bins), (last, _) = validation.run(0.1), validation.run(0.9)
    assert first > last
    assert [(part["low"], part["high"]) for part in bins] == [
        *((875, 906.25), (906.25, 937.5), (937.5, 968.75), (968.75, 1000)),
    ]
    assert sum(part["loss"] for part in bins) / 4 == pytest.approx(first)


def test_validation_is_due_every_so_many_steps() -> None:
    validation, none = (Validation(args, LossCurve(args)) for args in (training(), training(validate_every_steps=0)))
    assert [step for step in range(1, 151) if validation.due(step)] == [50, 100, 150]
    assert not none.due(50)


def test_held_out_items_stand_one_on_a_line(tmp_path: Path) -> None:
    file = tmp_path / "held-out.txt"
    file.write_text("0/a\n1/b c\n", encoding="utf-8")
    held_out = HeldOut(training(held_out=str(file)))
    items = [Cached(tmp_path / folder / "latents", tmp_path / "text", stem) for folder in "01" for stem in ("a", "b c")]
    assert [item.name for item in items if held_out.keeps(item)] == ["0/b c", "1/a"]
    held_out.check([items])
    with pytest.raises(TrainingFailed, match="none is left"):
        held_out.check([])
    with pytest.raises(TrainingFailed, match="held-out items 0/a, 1/b c"):
        HeldOut(training(held_out=str(file))).check([items])
    HeldOut(training()).check([])
