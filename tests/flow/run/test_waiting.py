"""The next training's program is started before its turn, and nothing goes wrong by that."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wan22lora.errors import Failure, Finding, Interrupted, MachineError, StepFailed
from wan22lora.machine.ram import Ram
from wan22lora.plan.model import Plan, Step, StepId
from wan22lora.plan.states import states_of
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Event, read_events
from wan22lora.run.left_running import left_running
from wan22lora.run.plain import PlainDisplay
from wan22lora.run.runner import Outcome, execute
from wan22lora.run.state import RunState, fold
from wan22lora.run.stop import StopRequest
from wan22lora.run.waiting import ROOM, has_room

from ..living import pid_alive

CHILDREN = Path(__file__).parent / "children"
SOURCE = Path(__file__).parents[3] / "src"
EARLY = b"started before its turn"


class House:
    """A caching step and two trainings; each but the last ends once the next one's program waits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = RunFolder(path / "run")
        self.stop = StopRequest()
        self.on_event: Callable[[Event], None] = lambda event: None
        self.faults: dict[str, str] = {"train-high": "next"}
        self.environment: dict[str, dict[str, str]] = {}
        self.can_wait = True
        self.rehearsal = False

    def mark(self, step_id: str) -> Path:
        """Where a program that waits for the turn of that step writes its number."""
        return self.path / f"{step_id}-waits"

    def plan(self) -> Plan:
        cached = self.path / "a_wan_te.safetensors"
        encoder = (sys.executable, "-S", str(CHILDREN / "encoder.py"), str(cached))
        until = {"UNTIL": str(self.mark("train-high"))} if self.can_wait else {}
        steps = (
            Step("cache-text", encoder, CHILDREN, {**until, **self.environment.get("cache-text", {})}),
            self.training("train-high", ("cache-text",), self.mark("train-low")),
            self.training("train-low", ("cache-text", "train-high"), None),
        )
        return Plan("demo", self.folder.path, (), steps, rehearsal=self.rehearsal)

    def training(self, step_id: StepId, after: tuple[StepId, ...], until: Path | None) -> Step:
        states, result = states_of(self.folder.path, step_id), self.folder.output / f"{step_id}.safetensors"
        fault = self.faults.get(step_id, "none") if self.can_wait else "none"
        return Step(
            step_id,
            (
                *(sys.executable, "-S", str(CHILDREN / "reporter.py")),
                *map(str, (self.folder.events, states, result)),
                fault,
            ),
            CHILDREN,
            {
                "PYTHONIOENCODING": "utf-8",
                "STEP": step_id,
                "WAITING": str(self.mark(step_id)),
                **({"UNTIL": str(until)} if until is not None else {}),
                **self.environment.get(step_id, {}),
            },
            after=after,
            writes=(result,),
            key={"rank": "16"},
            predicted_steps=6,
            states=states,
            can_wait=self.can_wait,
        )

    def execute(self, plan: Plan | None = None, **more: Any) -> Outcome:
        class Listening(PlainDisplay):
            def show(_, event: Event) -> None:  # noqa: N805
                super().show(event)
                self.on_event(event)

        return execute(
            plan or self.plan(),
            self.folder,
            display=Listening(self.folder.path, io.StringIO()),
            verify=lambda step: [Finding(str(path), "is missing") for path in step.writes if not path.exists()],
            again="again",
            stop=self.stop,
            grace_seconds=10.0,
            **more,
        )

    @property
    def state(self) -> RunState:
        return fold(read_events(self.folder.events))

    def log(self, step_id: str) -> bytes:
        (log,) = self.folder.logs.glob(f"*-{step_id}.log")
        return log.read_bytes()

    def pid_of_waiting(self, step_id: str) -> int:
        return int(self.mark(step_id).read_text())

    def assert_nothing_runs(self) -> None:
        for mark in self.path.glob("*-waits"):
            assert not pid_alive(int(mark.read_text()))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr("wan22lora.run.waiting.read_ram", lambda: Ram(1 << 40, 1 << 39))
    return House(tmp_path)


def started(house: House, step_id: str) -> list[Event]:
    return [
        event for event in read_events(house.folder.events)
        if event["event"] == "step-started" and event["id"] == step_id
    ]  # fmt: skip


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_training_is_the_process_that_was_started_before_its_turn(house: House) -> None:
    assert house.execute().done == ("cache-text", "train-high", "train-low")
    for step_id in ("train-high", "train-low"):
        (event,) = started(house, step_id)
        assert event["pid"] == event["pgid"] == house.pid_of_waiting(step_id)
        step = house.state.steps[step_id]
        assert (step.status, step.step, step.exit_code) == ("done", 6, 0)
        assert house.log(step_id).startswith(EARLY)
        assert house.log(step_id).count(b"training begins") == 1
    house.assert_nothing_runs()


def test_the_ledger_hears_of_it_when_its_turn_has_come(house: House) -> None:
    house.execute()
    order = [(event["event"], event["id"]) for event in read_events(house.folder.events) if "id" in event]
    for before, step_id in (("cache-text", "train-high"), ("train-high", "train-low")):
        of_the_step = [number for number, (_, name) in enumerate(order) if name == step_id]
        assert of_the_step[0] == order.index(("step-ended", before)) + 1
        assert order[of_the_step[0]] == ("step-started", step_id)


def test_its_seconds_count_from_its_turn(house: House) -> None:
    house.execute()
    step = house.state.steps["train-low"]
    (event,) = (
        each for each in read_events(house.folder.events) if each["event"] == "step-ended" and each["id"] == step.id
    )
    assert step.started is not None
    assert event["seconds"] <= event["t"] - step.started + 0.5


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_was_killed_while_it_waited_is_started_anew(house: House, number: signal.Signals) -> None:
    house.environment["train-high"] = {"UNTIL": str(house.path / "killed")}

    def kill() -> None:
        wait_until(house.mark("train-low").exists)
        pid = house.pid_of_waiting("train-low")
        os.kill(pid, number)
        wait_until(lambda: not pid_alive(pid))
        (house.path / "killed").touch()

    killing = threading.Thread(target=kill)
    killing.start()
    assert house.execute().done == ("cache-text", "train-high", "train-low")
    killing.join()
    (event,) = started(house, "train-low")
    assert event["pid"] != house.pid_of_waiting("train-low")
    assert EARLY not in house.log("train-low")
    assert house.state.steps["train-low"].status == "done"


def test_one_that_cannot_be_told_any_more_is_started_anew(house: House) -> None:
    house.environment["train-low"] = {"WAITS_BADLY": "1"}
    assert house.execute().done == ("cache-text", "train-high", "train-low")
    deaf, real = started(house, "train-low")
    assert deaf["pid"] == house.pid_of_waiting("train-low") != real["pid"]
    assert EARLY not in house.log("train-low")
    assert house.state.steps["train-low"].pid == real["pid"]
    assert house.state.steps["train-low"].status == "done"
    house.assert_nothing_runs()


def test_a_step_whose_command_has_changed_is_started_anew(house: House) -> None:
    """As a training's does whose weights have come meanwhile."""

    def renew(step: Step) -> Step:
        return replace(step, env={**step.env, "OMP_NUM_THREADS": "2"}) if step.id == "train-low" else step

    assert house.execute(renew=renew).done == ("cache-text", "train-high", "train-low")
    (event,) = started(house, "train-low")
    assert event["pid"] != house.pid_of_waiting("train-low")
    assert EARLY not in house.log("train-low")
    house.assert_nothing_runs()


def test_a_stop_ends_what_waits_and_does_not_speak_of_it(house: House) -> None:
    house.faults["train-high"] = "wait"
    gone: list[bool] = []

    def stop() -> None:
        wait_until(house.mark("train-low").exists)
        house.stop.request(signal.SIGINT)

    def look(event: Event) -> None:
        if event["event"] == "step-ended" and event["id"] == "train-high":
            gone.append(not pid_alive(house.pid_of_waiting("train-low")))

    house.on_event = look
    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(Interrupted) as caught:
        house.execute()
    stopping.join()
    assert gone == [True]  # it need not wait for the state that is being saved
    assert "train-low" not in str(caught.value)
    assert house.state.steps["train-low"].status == "waiting"
    assert started(house, "train-low") == []
    house.assert_nothing_runs()


def test_a_failure_of_the_step_before_ends_what_waits(house: House) -> None:
    house.faults["train-high"] = "next-fails"
    with pytest.raises(StepFailed, match="train-high failed"):
        house.execute()
    assert house.mark("train-low").exists()
    assert house.state.steps["train-low"].status == "waiting"
    house.assert_nothing_runs()


def test_a_run_that_breaks_off_leaves_nothing_waiting(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(event: Event) -> None:
        if event["event"] == "step-started" and event["id"] == "train-low":
            monkeypatch.setattr(os, "write", lambda file, data: 0)

    house.on_event = full
    with pytest.raises((MachineError, Failure)):
        house.execute()
    monkeypatch.undo()
    house.assert_nothing_runs()


def test_little_ram_is_left_to_the_step_that_runs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wan22lora.run.waiting.read_ram", lambda: Ram(1 << 40, ROOM - 1))
    house.environment["cache-text"] = {"UNTIL": ""}
    house.faults["train-high"] = "none"
    assert house.execute().done == ("cache-text", "train-high", "train-low")
    assert not list(house.path.glob("*-waits"))


def test_what_caching_has_yet_to_load_needs_room_too(tmp_path: Path) -> None:
    t5 = tmp_path / "t5.pth"
    t5.write_bytes(bytes(1000))
    caching = Step("cache-text", ("python", "cache.py", "--t5", str(t5)), tmp_path, {})
    training = Step("train-high", ("python", "train.py", "--t5", str(t5)), tmp_path, {}, predicted_steps=6)
    assert has_room(Ram(1 << 40, ROOM + 1000), [caching])
    assert not has_room(Ram(1 << 40, ROOM + 999), [caching])
    assert has_room(Ram(1 << 40, ROOM), [training])
    assert not has_room(None, [])


def test_a_program_that_cannot_wait_is_started_at_its_turn(house: House) -> None:
    house.can_wait = False
    assert house.execute().done == ("cache-text", "train-high", "train-low")
    assert not list(house.path.glob("*-waits"))


@pytest.mark.parametrize("moment", ["caching", "training"])
@pytest.mark.parametrize("killed", ["the run", "the run and its guards"])
def test_a_killed_run_leaves_nothing_waiting(house: House, moment: str, killed: str) -> None:
    """Not even where nobody is left to end it: then the pipe that it waits at has come to its end."""
    house.faults["train-high"] = "wait"
    first, waiting = ("cache-text", "train-high") if moment == "caching" else ("train-high", "train-low")
    if moment == "caching":
        house.environment["cache-text"] = {"UNTIL": str(house.path / "never")}
    plan = house.path / "plan"
    plan.write_bytes(pickle.dumps(house.plan()))
    runner = subprocess.Popen(
        [sys.executable, str(CHILDREN / "runner.py"), str(plan)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    try:
        wait_until(house.mark(waiting).exists)
        pid = house.pid_of_waiting(waiting)
        wait_until(lambda: bool(started(house, first)))
        if killed == "the run and its guards":
            for guard in guards_of(runner.pid):
                os.kill(guard, signal.SIGKILL)
    finally:
        runner.kill()
        runner.wait()
    wait_until(lambda: not pid_alive(pid))
    assert started(house, waiting) == []
    assert house.state.steps[waiting].status == "waiting"
    for step in left_running(house.folder.path):  # the one before, where its guard is dead too
        assert step.pgid is not None
        with suppress(ProcessLookupError):
            os.killpg(step.pgid, signal.SIGKILL)


def guards_of(runner: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(runner)], capture_output=True, text=True, check=True
    ).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "run/guard.py" in line]
