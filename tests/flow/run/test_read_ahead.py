"""While the first training runs, the second one's weights are read ahead, whichever program trains."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from wan22lora.errors import Interrupted
from wan22lora.machine.ram import Ram, read_ram
from wan22lora.plan.model import Plan, Step
from wan22lora.plan.states import states_of
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Event, read_events
from wan22lora.run.plain import PlainDisplay
from wan22lora.run.read_ahead import ReadAhead
from wan22lora.run.runner import execute
from wan22lora.run.stop import StopRequest

CHILDREN = Path(__file__).parent / "children"


def run(folder: RunFolder, *, reports: bool, rehearsal: bool = False, fault: str = "none", **more: Any) -> list[Event]:
    weights = folder.path.parent / "low.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(bytes(5_000_000))
    result, states = folder.output / "a.safetensors", states_of(folder.path, "train-high")
    program, given = "trainer.py", [result, "6", fault]
    if reports:
        program, given = "reporter.py", [folder.events, states, result, fault]
    high = Step(
        "train-high",
        (sys.executable, "-S", str(CHILDREN / program), *map(str, given), "--dit", "high.safetensors"),
        CHILDREN,
        {"PYTHONIOENCODING": "utf-8", "LEDGER": str(folder.events)},
        predicted_steps=6,
        states=states if reports else None,
    )
    low_result = str(folder.output / "b.safetensors")
    low = Step(
        "train-low",
        (sys.executable, "-S", str(CHILDREN / "trainer.py"), low_result, "6", "none", "--dit", str(weights)),
        CHILDREN,
        {"PYTHONIOENCODING": "utf-8"},
        after=("train-high",),
        predicted_steps=6,
    )
    plan = Plan("demo", folder.path, (), (high, low), rehearsal=rehearsal)
    execute(plan, folder, display=PlainDisplay(folder.path, io.StringIO()), verify=lambda _: (), again="again", **more)
    return notes(folder)


def notes(folder: RunFolder) -> list[Event]:
    return [event for event in read_events(folder.events) if event["event"] == "note"]


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    if read_ram() is None:
        pytest.skip("the RAM cannot be asked for here")
    monkeypatch.setattr(ReadAhead.__init__, "__defaults__", (lambda: Ram(1 << 40, 1 << 39),))


@pytest.mark.parametrize("reports", [True, False], ids=["extension", "plain"])
def test_the_second_trainings_weights_are_read_while_the_first_trains(tmp_path: Path, reports: bool) -> None:
    (note,) = run(RunFolder(tmp_path / "run"), reports=reports, fault="noted")
    assert note["id"] == "train-low"
    assert "low.safetensors: " in note["text"]
    assert "read ahead into memory" in note["text"]


def test_a_rehearsal_reads_no_weights(tmp_path: Path) -> None:
    assert run(RunFolder(tmp_path / "run"), reports=True, rehearsal=True) == []


def test_a_stop_ends_the_reading_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wan22lora.run.read_ahead._LEAST_PAUSE", 60.0)
    folder, stop = RunFolder(tmp_path / "run"), StopRequest()
    started: list[ReadAhead] = []
    start = ReadAhead.start

    def start_and_stop(ahead: ReadAhead) -> None:
        start(ahead)
        if not started and ahead._read:
            started.append(ahead)
            stop.request(signal.SIGINT)

    monkeypatch.setattr(ReadAhead, "start", start_and_stop)
    with pytest.raises(Interrupted):
        run(folder, reports=True, fault="wait", stop=stop)
    (note,) = notes(folder)
    assert "low.safetensors: 0.00 GB of 0.01 GB" in note["text"]
    started[0]._thread.join(5)
    assert not started[0]._thread.is_alive()
