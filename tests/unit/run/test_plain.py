"""Plain lines: what a log file or a pipe gets to see of a run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from wan22lora.run.plain import PlainDisplay


class Scene:
    """A display with a clock that the test turns."""

    def __init__(self, encoding: str = "utf-8", *, rehearsal: bool = False) -> None:
        self.time = 0.0
        self._bytes = io.BytesIO()
        stream = io.TextIOWrapper(self._bytes, encoding=encoding)
        self.display = PlainDisplay(Path("runs/demo"), stream, clock=lambda: self.time)
        self.event("run-started", name="demo", rehearsal=rehearsal, steps=["cache-text", "train-high"])

    def event(self, kind: str, **fields: Any) -> None:
        self.display.show({"t": self.time, "event": kind, **fields})

    def train(self, total: int, seconds: float) -> None:
        self.event(
            "step-started", id="train-high", total=total, pid=7, log="logs/002-train-high.log", why="rank changed"
        )
        for step in range(1, total + 1):
            self.time += seconds
            self.event("train-step", id="train-high", step=step, total=total, loss=0.0796, seconds=seconds)
            self.display.heard("train-high", "")
            self.display.tick()

    @property
    def lines(self) -> list[str]:
        return self._bytes.getvalue().decode().splitlines()


def test_a_run_reads_as_a_short_story() -> None:
    scene = Scene()
    scene.event("step-skipped", id="cache-text", why="all 6 files are current")
    scene.train(total=3, seconds=2.0)
    scene.event("checkpoint", id="train-high", path="runs/demo/output/demo-high-000001.safetensors")
    scene.event("warning", id="train-high", text="the loss is NaN")
    scene.event("step-ended", id="train-high", outcome="done", exit_code=0)
    scene.event("run-ended", outcome="done")
    assert scene.lines == [
        "demo: 2 steps, run folder runs/demo",
        "[1/2] cache-text: up to date (all 6 files are current)",
        "[2/2] train-high: started, 3 steps (rank changed), log logs/002-train-high.log",
        "[2/2] train-high: step 3/3 (100%), loss 0.0796, 2 s/step, 0 s left",
        "[2/2] train-high: saving demo-high-000001.safetensors",
        "[2/2] train-high: warning: the loss is NaN",
        "[2/2] train-high: done in 6 s",
        "finished in 6 s",
    ]


@pytest.mark.parametrize(
    ("total", "seconds", "most"),
    [(300, 2.0, 21), (3000, 0.1, 21), (100, 0.01, 1), (3000, 3.0, 151), (10, 600.0, 10)],
)
def test_progress_comes_by_the_minute_or_by_five_percent(total: int, seconds: float, most: int) -> None:
    scene = Scene()
    scene.train(total, seconds)
    progress = [line for line in scene.lines if "s/step" in line or ": step 1/" in line]
    assert 0 < len(progress) <= most
    assert f"step {total}/{total} (100%)" in progress[-1]


def test_every_line_of_a_rehearsal_says_so() -> None:
    scene = Scene(rehearsal=True)
    scene.train(total=3, seconds=2.0)
    scene.event("step-ended", id="train-high", outcome="done", exit_code=0)
    scene.event("run-ended", outcome="done")
    assert all(line.startswith("[rehearsal] ") for line in scene.lines)
    assert "nothing is trained" in scene.lines[1]
    assert scene.lines[-1] == "[rehearsal] rehearsal finished in 6 s; nothing was trained"


def test_nothing_to_do_is_said() -> None:
    scene = Scene()
    for step in ("cache-text", "train-high"):
        scene.event("step-skipped", id=step, why="current")
    scene.event("run-ended", outcome="done")
    assert scene.lines[-1] == "nothing to do: every step is up to date"


def test_five_minutes_of_silence_are_told_once_per_five_minutes() -> None:
    scene = Scene()
    scene.event("step-started", id="train-high", total=9, pid=7, log="logs/002-train-high.log", why="")
    for _ in range(11 * 60):
        scene.time += 1
        scene.display.tick()
    told = [line for line in scene.lines if "nothing printed" in line]
    assert told == [
        "[2/2] train-high: nothing printed for 5 min; process 7 is still running",
        "[2/2] train-high: nothing printed for 10 min; process 7 is still running",
    ]


def test_a_long_preparation_quotes_the_program_once_a_minute() -> None:
    scene = Scene()
    scene.event("step-started", id="train-high", total=9, pid=7, log="logs/002-train-high.log", why="")
    for second in range(121):
        scene.time += 1
        scene.display.heard("train-high", f"\x1b[1mINFO\x1b[0m:loading\tshard {second} {'x' * 200}")
        scene.display.tick()
    quoted = [line for line in scene.lines if "at work" in line]
    assert len(quoted) == 2
    assert quoted[0].startswith("[2/2] train-high: at work: INFO:loading shard 59 xxx")
    assert max(map(len, quoted)) < 140


def test_a_stream_that_knows_ascii_only_gets_ascii() -> None:
    scene = Scene("ascii")
    scene.event("step-skipped", id="cache-text", why="960×960 → 512×512")
    assert scene.lines[-1] == r"[1/2] cache-text: up to date (960\xd7960 \u2192 512\xd7512)"


def test_two_trainings_tell_their_progress_each_by_itself() -> None:
    scene = Scene()
    for step in ("cache-text", "train-high"):
        scene.event("step-started", id=step, total=400, pid=7, log="logs/x.log", why="")
    for number in range(1, 61):
        scene.time += 1
        for step in ("cache-text", "train-high"):
            scene.event("train-step", id=step, step=number, total=400, loss=0.08, seconds=1.0)
            scene.display.heard(step, "")
            scene.display.tick()
    told = [line.partition(": step ")[0] for line in scene.lines if ": step " in line]
    assert told == ["[1/2] cache-text", "[2/2] train-high"] * 3
    for step in ("cache-text", "train-high"):
        scene.event("stopping", id=step, text="finishing step 61")
    assert scene.lines[-1] == "[2/2] train-high: finishing step 61"
