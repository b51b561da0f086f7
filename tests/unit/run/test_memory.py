"""A run's own memory does not grow with its length."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wan22lora.run.ledger import Event, Ledger, read_events
from wan22lora.run.plain import PlainDisplay
from wan22lora.run.state import fold

START: Event = {"t": 1.0, "event": "run-started", "name": "a", "rehearsal": False, "steps": ["train"]}
BEGUN: Event = {"t": 2.0, "event": "step-started", "id": "train", "total": 10**6}


def step(number: int) -> Event:
    fields = {"step": number, "total": 10**6, "epoch": 1, "loss": number / 1e6, "seconds": 1.1, "lr": 2e-4}
    return {"t": 3.0 + number, "event": "train-step", "id": "train", **fields, "samples": 1, "gpu_peak": 2**34}


def written(path: Path, steps: int) -> int:
    lines = (json.dumps(event) for event in (START, BEGUN, *map(step, range(1, steps + 1))))
    with path.open("a") as file:
        return file.write("".join(f"{line}\n" for line in lines))


@contextmanager
def peak_below(limit: int) -> Iterator[None]:
    """The memory that Python takes meanwhile, beyond what it had before."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_reading_a_ledger_takes_little_of_its_size(tmp_path: Path) -> None:
    assert written(tmp_path / "events.jsonl", 10_000) > 1_500_000
    with peak_below(500_000):
        assert fold(read_events(tmp_path / "events.jsonl")).steps["train"].step == 10_000


def test_catching_up_with_a_trainer_takes_little_of_what_it_wrote(tmp_path: Path) -> None:
    with Ledger(tmp_path / "events.jsonl") as ledger:
        assert written(tmp_path / "events.jsonl", 10_000) > 1_500_000
        with peak_below(500_000):
            assert sum(1 for _ in ledger.news()) == 10_002


def test_a_display_keeps_nothing_of_steps_long_past(tmp_path: Path) -> None:
    display = PlainDisplay(tmp_path, io.StringIO())
    for event in (START, BEGUN, *map(step, range(1, 200))):
        display.show(event)
    with peak_below(100_000):
        for number in range(200, 3000):
            display.show(step(number))
