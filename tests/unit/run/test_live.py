"""The live view as characters on a terminal of a given size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from wan22lora.run.display import Display, Sturdy
from wan22lora.run.live import LiveDisplay
from wan22lora.run.plain import PlainDisplay
from wan22lora.run.view import display_for

FOLDER = Path("/home/somebody/with/a/long/name") / ("x" * 90) / "runs" / "demo"


class Scene:
    def __init__(self, width: int, *, rehearsal: bool = False) -> None:
        self.time = 0.0
        self.console = Console(file=io.StringIO(), width=width, height=24, force_terminal=True, color_system=None)
        self.display = LiveDisplay(
            FOLDER, io.StringIO(), clock=lambda: self.time, now=lambda: self.time, console=self.console
        )
        steps = ["cache-latents", "cache-text", "train-high", "train-low"]
        self.event("run-started", name="demo", rehearsal=rehearsal, steps=steps)

    def event(self, kind: str, **fields: Any) -> None:
        self.display.show({"t": self.time, "event": kind, **fields})

    def start(self) -> None:
        self.event("step-skipped", id="cache-latents", why=f"all files are current {'y' * 90}")
        self.event("step-started", id="train-high", total=300, pid=7, log="logs/003-train-high.log", why="")

    def train(self, steps: int) -> None:
        for step in range(1, steps + 1):
            self.time += 2
            self.event("train-step", id="train-high", step=step, total=300, loss=0.0796, seconds=2.0)

    @property
    def text(self) -> str:
        still = Console(file=io.StringIO(), width=self.console.width, force_terminal=True, color_system=None)
        with still.capture() as capture:
            still.print(self.display.frame())
        return capture.get()


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_none_wraps(width: int) -> None:
    scene = Scene(width, rehearsal=True)
    scene.start()
    before = len(scene.text.splitlines())
    scene.train(120)
    scene.display.heard("train-high", "学習開始 " * 50)
    lines = scene.text.splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == before + 2  # a figures line and the program's last line, whatever their length


def test_the_running_step_shows_its_progress_pace_and_log() -> None:
    scene = Scene(80)
    scene.start()
    assert "300 steps; loading and preparing" in scene.text
    scene.train(120)
    scene.display.heard("train-high", "INFO:something")
    lines = [line.rstrip() for line in scene.text.splitlines()]
    assert lines[0] == "demo"
    assert lines[1].startswith("  fresh    cache-latents  all files are current")
    assert lines[2:5] == [
        "  waiting  cache-text",
        "  running  train-high     4 min",
        "  waiting  train-low",
    ]
    assert lines[6].endswith(" 120/300 (40%)")
    assert lines[7] == "loss 0.0796, 2 s/step, 6 min left"
    assert lines[8].endswith("/runs/demo/logs/003-train-high.log")
    assert lines[9] == "INFO:something"


def test_the_last_validation_stays_in_view() -> None:
    scene = Scene(80)
    scene.start()
    scene.train(120)
    parts = [{"low": 875 + 16 * n, "high": 891 + 16 * n, "loss": 0.05} for n in range(3)]
    scene.event("validation", id="train-high", step=100, loss=0.08, bins=parts, seconds=1.0)
    lines = [line.rstrip() for line in scene.text.splitlines()]
    assert lines[8] == "validation at step 100: 0.08 (875-891: 0.05, …, 907-923: 0.05)"
    assert max(map(cell_len, lines)) <= 80


def both_at_once(width: int) -> Scene:
    scene = Scene(width)
    for index, step in enumerate(("train-high", "train-low")):
        scene.event("step-started", id=step, total=300, pid=7 + index, log=f"logs/00{3 + index}-{step}.log", why="")
    scene.train(120)
    scene.display.heard("train-high", "INFO:of the high one")
    scene.display.heard("train-low", "INFO:of the low one")
    return scene


def test_two_trainings_have_a_bar_each_with_its_name() -> None:
    scene = both_at_once(80)
    lines = [line.rstrip() for line in scene.text.splitlines()]
    assert lines[3:5] == ["  running  train-high     4 min", "  running  train-low      4 min"]
    assert lines[6].startswith("train-high ━")
    assert lines[6].endswith(" 120/300 (40%)")
    assert lines[7] == "loss 0.0796, 2 s/step, 6 min left"
    assert lines[9] == "INFO:of the high one"
    assert lines[11] == "train-low: 300 steps; loading and preparing"
    assert lines[13] == "INFO:of the low one"
    scene.event("train-step", id="train-low", step=30, total=300, loss=0.05, seconds=2.0)
    assert any(line.startswith("train-low ") and line.endswith(" 30/300 (10%)") for line in scene.text.splitlines())
    scene.event("step-ended", id="train-high", outcome="done", exit_code=0)
    assert "INFO:of the high one" not in scene.text
    assert "INFO:of the low one" in scene.text


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_two_trainings_do_not_wrap_either(width: int) -> None:
    assert max(map(cell_len, both_at_once(width).text.splitlines())) <= width


def test_each_of_two_trainings_that_stop_says_so_by_its_name() -> None:
    scene = both_at_once(80)
    for step in ("train-high", "train-low"):
        scene.event("stopping", id=step, text="finishing step 121")
    assert "  stopping train-high     4 min" in scene.text
    assert "  stopping train-low      4 min" in scene.text
    file = scene.console.file
    assert isinstance(file, io.StringIO)
    assert "train-low: finishing step 121" in file.getvalue()


def test_after_a_stop_was_asked_for_the_step_is_stopping() -> None:
    scene = Scene(80)
    scene.start()
    scene.train(120)
    scene.event("stopping", id="train-high", text="finishing step 121")
    assert "  stopping train-high     4 min" in scene.text
    assert "running" not in scene.text.partition("train-low")[0]
    scene.event("step-ended", id="train-high", outcome="interrupted", exit_code=130)
    assert "  stopped  train-high" in scene.text


def test_a_rehearsal_says_so_for_as_long_as_it_is_seen() -> None:
    scene = Scene(80, rehearsal=True)
    scene.start()
    scene.train(300)
    assert "nothing is trained" in scene.text
    scene.event("step-ended", id="train-high", outcome="done", exit_code=0)
    scene.event("run-ended", outcome="done")
    assert "nothing is trained" in scene.text
    assert "rehearsal finished in 10 min; nothing was trained" in scene.text


def test_a_silent_program_is_told_after_five_minutes() -> None:
    scene = Scene(80)
    scene.start()
    scene.display.heard("train-high", "INFO:loading")
    scene.time += 299
    assert "nothing printed" not in scene.text
    scene.time += 10
    assert "nothing printed for 5 min 9 s; process 7 is still running" in scene.text


@pytest.mark.parametrize(
    ("outcome", "exit_code", "line"),
    [
        ("failed", 1, "  failed   train-high     after 6 s (exit code 1), 3 steps"),
        ("done", 0, "  done     train-high     in 6 s, 3 steps"),
    ],
)
def test_a_step_that_ended_stays_visible_and_says_how_once(outcome: str, exit_code: int, line: str) -> None:
    scene = Scene(80)
    scene.start()
    scene.train(3)
    scene.event("step-ended", id="train-high", outcome=outcome, exit_code=exit_code)
    assert line in scene.text


def test_the_terminal_is_redrawn_four_times_a_second_at_most() -> None:
    scene = Scene(80)
    scene.start()
    file = scene.console.file
    assert isinstance(file, io.StringIO)
    draws = 0
    for _ in range(100):
        before = len(file.getvalue())
        scene.time += 0.05
        scene.display.tick()
        draws += len(file.getvalue()) > before
    assert 15 <= draws <= 20
    scene.display.close()
    assert file.getvalue().endswith("\x1b[?25h")  # the cursor is back


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_the_live_view_is_for_terminals_that_can_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(display_for(FOLDER, Terminal()), LiveDisplay)
    assert isinstance(display_for(FOLDER, io.TextIOWrapper(io.BytesIO(), encoding="utf-8")), PlainDisplay)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(display_for(FOLDER, Terminal()), PlainDisplay)


def test_a_vanished_terminal_ends_the_display_and_nothing_else() -> None:
    class Broken(PlainDisplay):
        calls = 0

        def tick(self) -> None:
            self.calls += 1
            raise BrokenPipeError

    broken = Broken(FOLDER, io.StringIO())
    display: Display = Sturdy(broken)
    for _ in range(3):
        display.tick()
        display.heard("train-high", "x")
    display.close()
    assert broken.calls == 1
