"""Losses: musubi-tuner's average, and a curve that a person would believe."""

from __future__ import annotations

import math
from argparse import Namespace

from wan22lora.rehearsal.loss import LossCurve, LossRecorder


def test_the_average_is_over_the_latest_loss_of_each_batch() -> None:
    recorder = LossRecorder()
    for index, loss in enumerate([1.0, 3.0]):
        recorder.add(0, index, loss)
    assert recorder.average == 2.0
    recorder.add(1, 0, 5.0)
    assert recorder.average == 4.0


def test_the_average_never_recovers_from_nan() -> None:
    recorder = LossRecorder()
    recorder.add(0, 0, math.nan)
    for epoch in range(1, 5):
        recorder.add(epoch, 0, 1.0)
    assert math.isnan(recorder.average)


def test_each_expert_has_its_own_curve_and_it_falls() -> None:
    high, low = (LossCurve(Namespace(seed=5, min_timestep=lowest, max_timestep=None)) for lowest in (875, None))
    losses = [[curve.at(step / 2000, step) for step in range(2000)] for curve in (high, low)]
    for values in losses:
        assert sum(values[-500:]) < sum(values[:500])
    assert sum(losses[0]) > sum(losses[1])
