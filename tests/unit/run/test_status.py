"""What `status` says of a run, at 80 columns."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from filelock import FileLock

from wan22lora.run.ledger import Event
from wan22lora.run.state import fold
from wan22lora.run.status import as_json, as_text, is_running

FOLDER = Path("/home/somebody/runs/paper")


def of(event: str, t: float = 0.0, **fields: object) -> Event:
    return {"t": t, "event": event, "id": "train-high", **fields}


STEPS = ["cache-text", "train-high", "train"]
HISTORY: list[Event] = [
    {"t": 0, "event": "run-started", "name": "paper", "rehearsal": False, "steps": STEPS},
    {"t": 1, "event": "step-skipped", "id": "cache-text", "why": "all 18 files are current " + "y" * 90},
    of("step-started", 2, total=300, pid=7, log="logs/002-train-high.log", why=""),
    of("weights-loaded", 60, seconds=58.0, ram_peak=40 * 2**30, gpu_peak=17 * 2**30),
    of("training-begun", 61, step=0, total=300, epoch=1, epochs=4, state=None),
    *(
        of("train-step", 61 + 2 * n, step=n, total=300, epoch=1 + n // 75, loss=0.1, seconds=2.0, lr=2e-4, samples=1)
        for n in range(1, 121)
    ),
    of("checkpoint", 301, path=str(FOLDER / "output" / "paper-high-000001.safetensors"), sha256="0"),
    of("state", 302, path="x", step=120, bytes=123_000_000, seconds=1.0),
    of(
        "validation",
        303,
        step=100,
        loss=0.08,
        bins=[{"low": 875 + 16 * n, "high": 891 + 16 * n, "loss": 0.05} for n in range(8)],
        seconds=1.0,
    ),
    of("warning", 304, text="careful"),
    of("paused", 305, text="no room for a state: it takes 0.12 GB, and /data has 0.05 GB free; waiting for room " * 2),
]


def text(events: list[Event], *, running: bool) -> str:
    return as_text(fold(events), FOLDER, running=running, now=362.0)


def test_a_running_training_shows_everything_that_is_known() -> None:
    shown = text(HISTORY, running=True)
    assert shown.splitlines()[:2] == ["paper: running for 6 min 2 s", str(FOLDER)]
    for line in (
        "running  train-high     for 6 min",
        "           step        120/300 (40%), epoch 2 of 4",
        "           loss        0.1, learning rate 0.0002",
        "           pace        2 s/step, 6 min left",
        "           state       of step 120, 1 min ago, 0.12 GB",
        "           validation  0.08 at step 100",
        "                       875-891: 0.05, 891-907: 0.05, 907-923: 0.05,",
        "           peaks       17.0 GiB of GPU memory, 40.0 GiB of RAM",
        "           checkpoints output/paper-high-000001.safetensors",
        "           warnings    1, see logs/002-train-high.log",
        "           paused      no room for a state: it takes 0.12 GB, and /data has",
        "waiting  train",
    ):
        assert line in shown.splitlines()
    assert max(map(len, shown.splitlines())) <= 80


def test_without_a_process_the_same_events_mean_that_it_was_killed() -> None:
    shown = text(HISTORY, running=False)
    assert shown.startswith("paper: was killed; the same command goes on with it\n")
    assert "killed   train-high     was killed" in shown
    assert " left" not in shown
    assert "paused" not in shown


@pytest.mark.parametrize(
    ("outcome", "status", "head", "line"),
    [
        (
            "failed",
            "failed",
            "paper: failed 2 s ago, after 6 min",
            "failed   train-high     after 5 min 58 s (exit code 1)",
        ),
        ("interrupted", "interrupted", "paper: was stopped 2 s ago", "stopped  train-high     after 5 min 58 s"),
        ("done", "done", "paper: finished 2 s ago", "done     train-high     in 5 min 58 s"),
    ],
)
def test_a_run_that_ended_says_how(outcome: str, status: str, head: str, line: str) -> None:
    shown = text(
        [
            *HISTORY,
            of("step-ended", 360, outcome=status, exit_code=1),
            {"t": 360, "event": "run-ended", "outcome": outcome},
        ],
        running=False,
    )
    assert shown.startswith(head)
    assert line in shown.splitlines()


def test_a_step_whose_turn_has_not_come_in_a_new_run_waits() -> None:
    ended = [of("step-ended", 360, outcome="done", exit_code=0), {"t": 361, "event": "run-ended", "outcome": "done"}]
    shown = text([*HISTORY, *ended, HISTORY[0]], running=True)
    assert "waiting  train-high" in shown.splitlines()
    assert "0.08" not in shown


def test_of_a_checkpoint_and_its_average_the_checkpoint_is_named() -> None:
    plain, average = (str(FOLDER / "output" / f"paper-high-000002{end}.safetensors") for end in ("", "-ema"))
    saved = of("checkpoint", 310, path=plain, sha256="0", ema=average, ema_sha256="1")
    lines = text([*HISTORY, saved], running=True).splitlines()
    assert "           checkpoints 2, the newest output/paper-high-000002.safetensors" in lines


def test_a_run_that_is_called_so_is_no_average() -> None:
    called_so = of("checkpoint", 310, path=str(FOLDER / "output" / "paper-ema.safetensors"), sha256="0")
    lines = text([*HISTORY, called_so], running=True).splitlines()
    assert "           checkpoints 2, the newest output/paper-ema.safetensors" in lines


def test_as_json_everything_has_a_name_and_is_json() -> None:
    broken = of("train-step", 400, step=121, total=300, epoch=2, loss="nan", seconds=2.0, lr=2e-4, samples=1)
    told = as_json(fold([*HISTORY, broken]), FOLDER, running=False)
    again = json.loads(json.dumps(told, allow_nan=False))
    assert (again["name"], again["outcome"], again["running"]) == ("paper", "killed", False)
    step = again["steps"][1]
    assert (step["id"], step["status"], step["step"], step["loss"]) == ("train-high", "lost", 121, "nan")
    assert (step["state"]["step"], step["validation"]["loss"], step["seconds_left"]) == (120, 0.08, 358.0)
    assert math.isclose(step["gpu_peak"], 17 * 2**30)


def test_a_run_goes_on_while_its_lock_is_held(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    lock = FileLock(tmp_path / ".lock")
    with lock:
        assert is_running(tmp_path)
    assert not is_running(tmp_path)
    with lock.acquire(timeout=0):
        pass
