"""What the ends of a training carry."""

from __future__ import annotations

from wan22lora.trainer.failing import TrainingFailed, TrainingStopped


def test_a_failure_says_its_reason_and_what_helps() -> None:
    failed = TrainingFailed("nan", "no finite loss", "a lower learning rate")
    assert (failed.reason, failed.text, failed.fix) == ("nan", "no finite loss", "a lower learning rate")
    assert str(failed) == "no finite loss"


def test_a_stop_says_its_signal() -> None:
    stopped = TrainingStopped(15)
    assert stopped.signal == 15
    assert "15" in str(stopped)
