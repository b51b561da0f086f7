"""The learning rate that a rehearsal reports."""

from __future__ import annotations

from argparse import Namespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.rehearsal.schedule import learning_rate

NAMES = (
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_min_lr",
    "polynomial",
    "rex",
    "adafactor:1",
)


def training(**changes: object) -> Namespace:
    values: dict[str, object] = {
        "learning_rate": 1e-4,
        "max_train_steps": 100,
        "lr_warmup_steps": 0,
        "lr_scheduler": "constant",
        "lr_scheduler_type": "",
        "lr_scheduler_power": 1.0,
        "lr_scheduler_min_lr_ratio": None,
        "optimizer_type": "adamw",
    }
    return Namespace(**(values | changes))


@given(st.sampled_from(NAMES), st.integers(0, 120), st.one_of(st.integers(0, 50), st.floats(0, 0.5)))
def test_it_never_leaves_its_range(name: str, step: int, warmup: float) -> None:
    rate = learning_rate(training(lr_scheduler=name, lr_warmup_steps=warmup), step)
    assert 0 <= rate <= 1e-4 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("changes", "step", "rate"),
    [
        ({}, 99, 1e-4),
        ({"lr_warmup_steps": 0.1}, 5, 0.5e-4),
        ({"lr_warmup_steps": 10, "lr_scheduler": "linear"}, 55, 0.5e-4),
        ({"lr_scheduler": "cosine"}, 50, 0.5e-4),
        ({"lr_scheduler": "cosine"}, 100, 0),
        ({"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_min_lr_ratio": 0.1}, 100, 1e-5),
        ({"lr_scheduler": "polynomial", "lr_scheduler_power": 8.0}, 100, 1e-7),
        ({"lr_scheduler": "polynomial", "lr_scheduler_min_lr_ratio": 0.5}, 100, 1e-7),
        ({"lr_scheduler": "cosine", "lr_scheduler_type": "CosineAnnealingLR"}, 50, 1e-4),
        ({"lr_scheduler": "cosine", "optimizer_type": "AdamWScheduleFree"}, 50, 1e-4),
        ({"learning_rate": None, "lr_scheduler": "adafactor:1e-4"}, 50, 0),
    ],
)
def test_each_schedule_is_where_it_should_be(changes: dict[str, object], step: int, rate: float) -> None:
    assert learning_rate(training(**changes), step) == pytest.approx(rate)
