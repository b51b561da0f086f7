"""What is said of a step that failed."""

from __future__ import annotations

from pathlib import Path

from wan22lora.plan.model import Step
from wan22lora.run.account import Account
from wan22lora.run.failures import Ended, step_failed
from wan22lora.run.process import ProcessResult
from wan22lora.run.transcript import Transcript

AGAIN = "wan22lora train run.yaml"


def killed(folder: Path, reached: int) -> str:
    """What is said of a training that was killed after so many steps, before it saved a state."""
    step = Step("train-high", (), folder, {}, predicted_steps=300, states=folder / "states")
    account = Account(step)
    for number in range(1, reached + 1):
        account.take({"event": "train-step", "id": "train-high", "step": number, "total": 300})
    result = ProcessResult(exit_code=137, signal=9, seconds=40.0, pid=5)
    return str(step_failed(Ended(step, "trainer", result, folder / "log", Transcript(), AGAIN, account, 30.0), None))


def test_a_training_that_was_killed_before_its_first_state_is_not_said_to_continue(tmp_path: Path) -> None:
    assert killed(tmp_path, reached=11).endswith(f"→ to begin again at step 1: {AGAIN}")


def test_one_that_was_killed_before_its_first_step_has_nothing_to_begin_again(tmp_path: Path) -> None:
    assert killed(tmp_path, reached=0).endswith(f"→ to continue: {AGAIN}")
