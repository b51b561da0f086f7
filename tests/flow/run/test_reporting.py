"""Trainings that write their own events: shown as they happen, stopped, killed, failed, and what a person is told."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wan22lora.errors import Failure, Finding, Interrupted, MachineError, StepFailed
from wan22lora.plan.model import Plan, Step
from wan22lora.plan.states import read_states, states_of
from wan22lora.run.failures import OutOfMemory
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Event, read_events
from wan22lora.run.plain import PlainDisplay
from wan22lora.run.runner import Outcome, execute
from wan22lora.run.state import StepState, fold
from wan22lora.run.stop import StopRequest

CHILDREN = Path(__file__).parent / "children"
AGAIN = "wan22lora train run.yaml"


class House:
    """A run folder with one training that reports."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path / "runs" / "demo")
        self.states = states_of(self.folder.path, "train-high")
        self.result = self.folder.output / "demo-high.safetensors"
        self.screen = io.StringIO()
        self.stop = StopRequest()

    def execute(
        self, fault: str = "none", *, grace_seconds: float = 10.0, continues: bool = False, **more: Any
    ) -> Outcome:
        program = (sys.executable, "-S", str(CHILDREN / "reporter.py"))
        paths = (self.folder.events, self.states, self.result)
        step = Step(
            "train-high",
            (*program, *map(str, paths), fault),
            CHILDREN,
            {"PYTHONIOENCODING": "utf-8"},
            writes=(self.result,),
            key={"rank": "16"},
            predicted_steps=6,
            states=self.states,
            continues=read_states(self.states).newest if continues else None,
        )
        return execute(
            Plan("demo", self.folder.path, (), (step,)),
            self.folder,
            display=PlainDisplay(self.folder.path, self.screen),
            verify=lambda step: [Finding(str(path), "is missing") for path in step.writes if not path.exists()],
            again=AGAIN,
            stop=self.stop,
            grace_seconds=grace_seconds,
            **more,
        )

    def fails(self, kind: type[Failure], fault: str, **more: Any) -> str:
        with pytest.raises(kind) as caught:
            self.execute(fault, **more)
        assert caught.type is kind
        self.failure = caught.value
        return str(caught.value)

    def when(self, told: Callable[[StepState], bool], act: Callable[[StepState], None]) -> None:
        """Act as soon as the ledger tells something of the training."""

        def watch() -> None:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                step = fold(read_events(self.folder.events)).steps.get("train-high")
                if step is not None and told(step):
                    act(step)
                    return
                time.sleep(0.01)

        threading.Thread(target=watch, daemon=True).start()

    @property
    def events(self) -> list[Event]:
        return list(read_events(self.folder.events))

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]

    @property
    def step(self) -> StepState:
        return fold(self.events).steps["train-high"]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def at_step(number: int) -> Callable[[StepState], bool]:
    return lambda step: step.step == number


def test_its_own_events_are_the_history_and_nothing_is_told_twice(house: House) -> None:
    house.execute()
    assert [event["step"] for event in house.of("train-step")] == [1, 2, 3, 4, 5, 6]
    assert [event["loss"] for event in house.of("train-step")] == [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    assert len(house.of("checkpoint")) == 1
    assert len(house.of("warning")) == 6
    assert (house.step.status, house.step.step, house.step.loss) == ("done", 6, 0.06)
    assert house.step.checkpoints == (str(house.result),)


def test_the_screen_shows_them_as_they_come(house: House) -> None:
    house.execute("paused")
    screen = house.screen.getvalue()
    for text in (
        "weights loaded in 1 s (32.0 GiB RAM, 16.0 GiB GPU)",
        "validation at step 2: 0.0812 (875-906: 0.09)",
        "state saved at step 3",
        "paused: no room for a state; waiting for room",
        "goes on",
        "step 6/6 (100%), loss 0.035, preserving 0.001",
        "saved demo-high.safetensors",
    ):
        assert f"[1/1] train-high: {text}" in screen
    assert screen.index("goes on") < screen.index("step 6/6")


def test_a_stop_waits_for_the_state_and_says_where_it_goes_on(house: House) -> None:
    house.when(at_step(4), lambda _: house.stop.request(signal.SIGINT))
    text = house.fails(Interrupted, "wait")
    assert text == (
        "Stopped during train-high at step 4 of 6. Nothing of it runs any more; finished steps are kept. "
        f"The state of step 4 is saved.\n→ to continue at step 5: {AGAIN}"
    )
    assert house.failure.exit_code == 130
    assert house.step.status == "interrupted"
    assert house.step.state is not None
    assert house.step.state.step == 4
    # The runner may hear of the stop before it hears of step 4.
    said = r"finishing step [45], saving a state \(10 s at most\); Ctrl-C again ends it at once"
    assert re.search(said, house.screen.getvalue())
    house.stop = StopRequest()
    house.execute(continues=True)
    assert [event["step"] for event in house.of("train-step")] == [1, 2, 3, 4, 5, 6]
    assert "continues after step 4 of 6" in house.screen.getvalue()


def test_sigterm_to_the_runner_saves_a_state_too(house: House) -> None:
    house.when(at_step(4), lambda _: house.stop.request(signal.SIGTERM))
    house.fails(Interrupted, "wait")
    assert house.failure.exit_code == 143


def test_a_stop_while_it_loads_says_so(house: House) -> None:
    house.when(lambda step: step.ram_peak is not None, lambda _: house.stop.request(signal.SIGINT))
    text = house.fails(Interrupted, "loads")
    assert "No state of it is saved yet, so its next start begins at step 1." in text
    assert text.endswith(f"→ to continue: {AGAIN}")
    assert "stopping train-high while it loads" in house.screen.getvalue()


def test_a_state_that_takes_longer_than_the_grace_is_not_promised(house: House) -> None:
    house.when(at_step(4), lambda _: house.stop.request(signal.SIGINT))
    text = house.fails(Interrupted, "slow-state", grace_seconds=0.3)
    assert (
        "It did not end within less than a second and was killed. Its last state is of step 3; step 4 is trained"
        in text
    )
    assert text.endswith(f"→ to continue at step 4: {AGAIN}")


def test_a_deaf_trainer_is_killed_in_the_end(house: House) -> None:
    house.when(at_step(4), lambda _: house.stop.request(signal.SIGINT))
    text = house.fails(Interrupted, "deaf", grace_seconds=0.3)
    assert "was killed. Its last state is of step 3" in text
    assert house.step.exit_code == 137


def test_a_second_stop_ends_it_at_once(house: House) -> None:
    def twice(_: StepState) -> None:
        house.stop.request(signal.SIGINT)
        time.sleep(0.2)
        house.stop.request(signal.SIGINT)

    house.when(at_step(4), twice)
    begun = time.monotonic()
    text = house.fails(Interrupted, "slow-state", grace_seconds=30)
    assert time.monotonic() - begun < 10
    assert "It was ended at once. Its last state is of step 3; step 4 is trained again." in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_trainer_that_somebody_else_stops_is_interrupted_not_failed(house: House, number: signal.Signals) -> None:
    def send(step: StepState) -> None:
        assert step.pid is not None
        os.kill(step.pid, number)

    house.when(at_step(4), send)
    text = house.fails(Interrupted, "wait")
    assert f"Stopped during train-high at step 4 of 6 by {number.name} from outside." in text
    assert "The state of step 4 is saved." in text
    assert house.failure.exit_code == 128 + number
    assert house.step.status == "interrupted"


def test_a_kill_in_the_midst_of_a_line_costs_that_line_alone(house: House) -> None:
    text = house.fails(StepFailed, "torn")
    assert "train-high was killed by SIGKILL" in text
    assert text.endswith(f"→ to continue at step 4: {AGAIN}")
    assert [event["event"] for event in house.events[-2:]] == ["step-ended", "run-ended"]
    house.execute(continues=True)
    assert (house.step.status, house.step.step) == ("done", 6)


@pytest.mark.parametrize("reason", ["nan", "disk-full"])
def test_a_failure_is_told_in_the_trainers_own_words(house: House, reason: str) -> None:
    guessed = [Finding("likely cause", "something else")]
    text = house.fails(StepFailed, reason, diagnose=lambda *_: guessed)
    assert text.startswith("train-high failed at step 3 of 6 after ")
    assert f"cause: what happened is {reason}\n    → against {reason}\n" in text
    assert text.endswith(f"→ to continue at step 4: {AGAIN}")
    assert house.failure.exit_code == 5
    assert "something else" not in text
    assert (house.step.status, house.step.reason) == ("failed", reason)


def test_an_error_without_a_name_is_looked_up_in_the_log(house: House) -> None:
    found = [Finding("likely cause", "a known one", "a way out")]
    assert "likely cause: a known one" in house.fails(StepFailed, "error", diagnose=lambda *_: found)
    assert "cause: what happened is error" in House(house.folder.path / "other").fails(
        StepFailed, "error", diagnose=lambda *_: []
    )


def test_a_trainer_that_exits_without_a_word_has_failed(house: House) -> None:
    assert "train-high failed with exit code 1 after" in house.fails(StepFailed, "silent")


def test_a_wrong_musubi_is_the_machines_fault(house: House) -> None:
    text = house.fails(MachineError, "wrong-musubi")
    assert house.failure.exit_code == 4
    assert "the trainer was written for another one\n    → wan22lora setup" in text


@pytest.mark.parametrize(
    ("fault", "phase", "when"),
    [
        ("out-of-memory", "training", "in the midst of it"),
        ("out-of-memory-while-loading", "loading", "while it loaded"),
    ],
)
def test_a_lack_of_gpu_memory_is_a_failure_with_a_name(house: House, fault: str, phase: str, when: str) -> None:
    text = house.fails(OutOfMemory, fault)
    assert isinstance(house.failure, OutOfMemory)
    assert (house.failure.step, house.failure.phase, house.failure.exit_code) == ("train-high", phase, 5)
    assert f"the GPU's memory ran out for train-high {when}, after" in text
    advised = str(house.failure.with_advice(Finding("run.yaml:3:1 train", "too little", "more")))
    assert (
        advised.index("cause: ") < advised.index("run.yaml:3:1 train: too little\n    → more") < advised.index(".log")
    )
