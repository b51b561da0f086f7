"""What the runner makes of a program's output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wan22lora.musubi.log_lines import parse
from wan22lora.plan.model import Step
from wan22lora.run.listener import Listener, Parse

TRAIN = Step("train-high", ("python",), Path("/"), {}, predicted_steps=36)


class Scene:
    def __init__(self, parse: Parse = parse) -> None:
        self.time = 100.0
        self.events: list[dict[str, Any]] = []
        self.listener = Listener(TRAIN, self.emit, lambda: self.time, parse)

    def emit(self, event: str, **fields: object) -> None:
        self.events.append({"event": event, **fields})

    def err(self, text: str) -> str:
        return self.listener.take("err", text.encode())

    def bar(self, step: int, loss: str = "") -> str:
        postfix = f", avr_loss={loss}" if loss else ""
        return self.err(f"\rsteps:  33%|███▎      | {step}/36 [00:34<01:10,  2.94s/it{postfix}]")

    @property
    def steps(self) -> list[tuple[Any, ...]]:
        return [(e["step"], e["loss"], e["seconds"]) for e in self.events if e["event"] == "train-step"]

    @property
    def warnings(self) -> list[str]:
        return [e["text"] for e in self.events if e["event"] == "warning"]


def test_a_slow_step_is_told_once_with_its_own_loss() -> None:
    scene = Scene()
    scene.bar(0)
    for step, loss in ((1, "0.1"), (2, "0.2"), (3, "0.3")):
        scene.time += 3
        scene.bar(step, f"0.{step - 1}" if step > 1 else "")  # at once, with the loss of the step before
        scene.bar(step, loss)
        assert scene.steps[-1][:2] == (step, float(loss))
    scene.bar(3, "0.35")  # a further batch of an accumulated step
    scene.listener.finish()
    assert scene.steps == [(1, 0.1, None), (2, 0.2, 3.0), (3, 0.3, 3.0)]
    assert scene.listener.progress == 3


def test_quick_steps_that_are_shown_once_are_all_told() -> None:
    scene = Scene()
    for step in (1, 2, 3):
        scene.time += 0.05
        scene.bar(step, f"0.{step}")
    scene.listener.finish()
    assert scene.steps == [(1, 0.1, None), (2, 0.2, 0.05), (3, 0.3, 0.05)]


def test_a_step_that_is_shown_once_is_told_after_a_second() -> None:
    scene = Scene()
    scene.bar(1, "0.1")
    scene.listener.tick()
    assert scene.steps == []
    scene.time += 1.1
    scene.listener.tick()
    assert scene.steps == [(1, 0.1, None)]
    scene.bar(1, "0.2")
    scene.listener.finish()
    assert scene.steps == [(1, 0.1, None)]


def test_steps_that_were_never_shown_share_the_time() -> None:
    scene = Scene()
    scene.bar(1, "0.1")
    scene.time += 1
    scene.bar(5, "0.5")
    scene.listener.finish()
    assert scene.steps == [(1, 0.1, None), (5, 0.5, 0.25)]


def test_a_bar_cut_into_pieces_is_still_one_bar() -> None:
    scene = Scene()
    text = "\rsteps:  33%|███▎      | 12/36 [00:34<01:10,  2.94s/it, avr_loss=0.0796]INFO:trainer:hello\n".encode()
    shown = [scene.listener.take("err", text[at : at + 1]) for at in range(len(text))]
    scene.listener.finish()
    assert scene.steps == [(12, 0.0796, None)]
    assert [line for line in shown if line] == ["INFO:trainer:hello"]


def test_the_streams_do_not_mix_in_the_middle_of_a_line() -> None:
    scene = Scene()
    scene.listener.take("out", b"saving check")
    scene.bar(3, "0.1")
    scene.listener.take("out", b"point: /runs/a-000001.safetensors\n")
    assert [e["path"] for e in scene.events if e["event"] == "checkpoint"] == [Path("/runs/a-000001.safetensors")]


def test_a_loss_that_becomes_nan_is_warned_of_once() -> None:
    scene = Scene()
    for step, loss in ((1, "0.1"), (2, "nan"), (3, "nan")):
        scene.bar(step, loss)
        scene.bar(step, loss)
    assert len(scene.warnings) == 1
    assert "nan from step 2 on" in scene.warnings[0]


def test_another_number_of_steps_than_predicted_is_warned_of() -> None:
    scene = Scene()
    scene.listener.take("out", "  total optimization steps / 学習ステップ数: 36\n".encode())
    assert scene.warnings == []
    scene.listener.take("out", "  total optimization steps / 学習ステップ数: 40\n".encode())
    assert scene.warnings == ["musubi-tuner counts 40 optimizer steps where 36 were predicted"]


def test_warnings_come_once_and_not_without_end() -> None:
    scene = Scene()
    for _ in range(2):
        for number in range(200):
            scene.err(f"WARNING:dataset:item {number} is odd\n")
    assert len(scene.warnings) == 51
    assert scene.warnings[0] == "item 0 is odd"
    assert "more warnings" in scene.warnings[-1]
    scene = Scene()
    scene.err(f"ERROR:dataset:{'x' * 100_000}\n")
    assert len(scene.warnings[0]) < 500


def test_warnings_to_programmers_stay_in_the_log() -> None:
    scene = Scene()
    scene.err("/lib/torch/x.py:12: FutureWarning: this will change\n")
    assert scene.warnings == []
    assert scene.listener.transcript.lines == ("/lib/torch/x.py:12: FutureWarning: this will change",)


def test_a_line_that_cannot_be_read_costs_a_warning_and_no_training() -> None:
    def broken(line: str) -> None:
        raise ValueError("too many digits")

    scene = Scene(broken)
    scene.err("one\ntwo\n")
    scene.listener.finish()
    assert scene.warnings == ["a line of the log was not understood (ValueError: too many digits)"]


@pytest.mark.parametrize("tail", ["RuntimeError: CUDA error", "steps:  33%|█  | 12/36 [00:34<01:10, avr_loss=0.5]"])
def test_what_a_dying_program_left_unfinished_counts(tail: str) -> None:
    scene = Scene()
    scene.err(tail)
    scene.listener.finish()
    assert scene.listener.transcript.last(1) == (tail,)
    assert len(scene.steps) == ("steps" in tail)
