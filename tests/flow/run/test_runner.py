"""Whole plans against programs that behave and misbehave: what ends up in the folder, and what a person is told."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wan22lora.errors import Failure, Finding, Interrupted, MachineError, OutputsWrong, RunFolderError, StepFailed
from wan22lora.plan.model import Plan, PlannedFile, Step, StepId
from wan22lora.run.alive import group_alive
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Event, read_events
from wan22lora.run.plain import PlainDisplay
from wan22lora.run.runner import Outcome, execute
from wan22lora.run.state import RunState, fold
from wan22lora.run.stop import StopRequest

CHILDREN = Path(__file__).parent / "children"


class House:
    """A run folder, a plan of one caching step and two trainings, and everything execute needs."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path / "runs" / "demo")
        self.output = self.folder.output
        self.cached = tuple(self.folder.path / "cache" / f"{name}_wan_te.safetensors" for name in "abcd")
        self.faults: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.settled: list[str] = []
        self.screen = io.StringIO()
        self.stop = StopRequest()
        self.rehearsal = False
        self.at_once = False
        """The trainings do not wait for each other."""
        self.on_event: Callable[[Event], None] | None = None

    def result(self, step_id: str) -> Path:
        return self.output / f"demo-{step_id}.safetensors"

    def plan(self, *fresh: str) -> Plan:
        (self.folder.path / "cache").mkdir(parents=True, exist_ok=True)
        encoder = (sys.executable, "-S", str(CHILDREN / "encoder.py"), *map(str, self.cached))
        steps = (
            Step("cache-text", encoder, CHILDREN, self.environment, writes=self.cached, why="nothing encoded yet"),
            self.training("train-high", after=("cache-text",)),
            self.training("train-low", after=("cache-text",) if self.at_once else ("cache-text", "train-high")),
        )
        return Plan(
            name="demo",
            folder=self.folder.path,
            files=(PlannedFile(self.folder.path / "dataset.toml", "[general]\n"),),
            steps=tuple(replace(step, fresh=step.id in fresh, why=step.why or "no change") for step in steps),
            rehearsal=self.rehearsal,
        )

    def training(self, step_id: StepId, after: tuple[StepId, ...]) -> Step:
        result, fault = self.result(step_id), self.faults.get(step_id, "none")
        return Step(
            step_id,
            (sys.executable, "-S", str(CHILDREN / "trainer.py"), str(result), "6", fault),
            CHILDREN,
            {"PYTHONIOENCODING": "utf-8"},
            after=after,
            writes=(result,),
            key={"rank": "16"},
            predicted_steps=6,
        )

    def execute(self, plan: Plan | None = None, grace_seconds: float = 5.0, **more: Any) -> Outcome:
        display = Recorder(self.folder.path, self.screen, self.on_event)
        return execute(
            plan or self.plan(),
            self.folder,
            display=display,
            verify=lambda step: [Finding(str(path), "is missing") for path in step.writes if not path.exists()],
            again="wan22lora train run.yaml",
            settle=lambda step: self.settled.append(step.id),
            stop=self.stop,
            grace_seconds=grace_seconds,
            **more,
        )

    def fails(self, kind: type[Failure], **more: Any) -> Failure:
        with pytest.raises(kind) as caught:
            self.execute(**more)
        assert str(caught.value).endswith("wan22lora train run.yaml")
        return caught.value

    def stop_when(self, text: str, step_id: str = "train-high") -> None:
        """Ask for a stop as soon as the log of that step says something."""

        def watch() -> None:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                if any(text in log.read_text("utf-8", "replace") for log in self.folder.logs.glob(f"*-{step_id}.log")):
                    break
                time.sleep(0.01)
            self.stop.request(signal.SIGINT)

        threading.Thread(target=watch, daemon=True).start()

    @property
    def state(self) -> RunState:
        return fold(read_events(self.folder.events))

    @property
    def statuses(self) -> dict[str, str]:
        return {step.id: step.status for step in self.state.steps.values()}

    def log(self, name: str) -> bytes:
        return (self.folder.logs / name).read_bytes()


class Recorder(PlainDisplay):
    def __init__(self, folder: Path, stream: io.StringIO, on_event: Callable[[Event], None] | None) -> None:
        super().__init__(folder, stream)
        self._on_event = on_event

    def show(self, event: Event) -> None:
        super().show(event)
        if self._on_event is not None:
            self._on_event(event)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_good_run_leaves_results_keys_logs_and_its_history(house: House) -> None:
    outcome = house.execute()
    assert (outcome.done, outcome.skipped) == (("cache-text", "train-high", "train-low"), ())
    assert house.result("train-high").read_bytes() == b"result"
    assert house.folder.key("train-high") == house.folder.key("train-low") == {"rank": "16"}
    assert (house.folder.path / "dataset.toml").read_text() == "[general]\n"
    assert house.settled == ["cache-text"]
    assert sorted(path.name for path in house.folder.logs.iterdir()) == [
        "001-cache-text.log",
        "002-train-high.log",
        "003-train-low.log",
    ]
    state = house.state
    assert (state.name, state.outcome) == ("demo", "done")
    assert house.statuses == {"cache-text": "done", "train-high": "done", "train-low": "done"}
    train = state.steps["train-high"]
    assert (train.step, train.total, train.loss, train.exit_code) == (6, 6, 0.06, 0)
    assert train.seconds_per_step is not None
    assert [Path(path).name for path in train.checkpoints] == [
        "demo-train-high-000001.safetensors",
        "demo-train-high.safetensors",
    ]
    assert "train-high: step 6/6 (100%), loss 0.06" in house.screen.getvalue()


def test_the_log_has_every_byte_of_both_streams(house: House) -> None:
    house.execute()
    log = house.log("002-train-high.log")
    assert log.count(b"\rsteps:") == 7
    assert "running training / 学習開始\n".encode() in log
    assert b"\nINFO:musubi_tuner.training.trainer_base:model saved.\n" in log


def test_fresh_steps_are_skipped_and_nothing_else_happens(house: House) -> None:
    house.execute()
    before = house.result("train-high").stat().st_mtime_ns
    started = time.monotonic()
    outcome = house.execute(house.plan("cache-text", "train-high", "train-low"))
    assert time.monotonic() - started < 10
    assert outcome.done == ()
    assert house.result("train-high").stat().st_mtime_ns == before
    assert [event["id"] for event in read_events(house.folder.events) if event["event"] == "step-skipped"] == [
        "cache-text",
        "train-high",
        "train-low",
    ]
    assert set(house.statuses.values()) == {"done"}
    assert len(list(house.folder.logs.iterdir())) == 3
    assert "nothing to do: every step is up to date" in house.screen.getvalue()


def test_a_second_training_moves_the_first_ones_files_away(house: House) -> None:
    house.execute()
    (house.output / "unrelated.safetensors").write_bytes(b"mine")
    house.execute(house.plan("cache-text", "train-low"))
    (shelf,) = house.folder.previous.iterdir()
    assert sorted(path.name for path in shelf.iterdir()) == [
        "demo-train-high-000001.safetensors",
        "demo-train-high.safetensors",
    ]
    assert (house.output / "unrelated.safetensors").exists()
    assert (house.folder.logs / "004-train-high.log").exists()


def test_stale_files_are_gone_before_a_step_starts(house: House, tmp_path: Path) -> None:
    stale = tmp_path / "old_wan.safetensors"
    stale.touch()
    check = f"import pathlib, sys; sys.exit(pathlib.Path({str(stale)!r}).exists())"
    step = Step("cache-latents", (sys.executable, "-S", "-c", check), tmp_path, {}, stale=(stale, tmp_path / "never"))
    house.execute(Plan("demo", house.folder.path, (), (step,)))


def test_what_a_fresh_caching_no_longer_wants_is_gone_too(house: House, tmp_path: Path) -> None:
    unwanted = tmp_path / "removed_wan_te.safetensors"
    unwanted.touch()
    step = Step("cache-text", ("never",), tmp_path, {}, stale=(unwanted,), fresh=True)
    assert house.execute(Plan("demo", house.folder.path, (), (step,))).skipped == ("cache-text",)
    assert not unwanted.exists()


def test_a_failed_training_is_told_with_its_cause_its_last_lines_its_log_and_the_way_on(house: House) -> None:
    house.faults["train-high"] = "error"
    asked: list[tuple[str, int]] = []

    def diagnose(program: str, exit_code: int, lines: Any) -> list[Finding]:
        asked.append((program, exit_code))
        if exit_code == 0:
            return []
        assert "RuntimeError: CUDA error: the child was told to fail" in lines
        return [Finding("train-high", "the GPU is broken", fix="buy another")]

    failure = house.fails(StepFailed, diagnose=diagnose)
    text = str(failure)
    assert failure.exit_code == 5
    assert asked == [("wan_cache_text_encoder_outputs", 0), ("wan_train_network", 1)]
    assert text.startswith(
        "train-high failed with exit code 1 after less than a second\ntrain-high: the GPU is broken\n"
    )
    assert "    RuntimeError: CUDA error: the child was told to fail" in text
    assert str(house.folder.logs / "002-train-high.log") in text
    assert house.statuses == {"cache-text": "done", "train-high": "failed", "train-low": "waiting"}
    assert house.state.outcome == "failed"
    assert house.folder.key("train-high") is None
    assert not house.result("train-low").exists()


def test_a_training_that_lost_its_loss_without_noticing_is_not_done(house: House) -> None:
    def diagnose(program: str, exit_code: int, lines: Any) -> list[Finding]:
        return [Finding("", "the loss is no number")] if program == "wan_train_network" else []

    failure = house.fails(OutputsWrong, diagnose=diagnose)
    assert "the loss is no number" in str(failure)
    assert house.folder.key("train-high") is None


def test_a_killed_training_is_told_as_killed(house: House) -> None:
    house.faults["train-high"] = "killed"
    assert "train-high was killed by SIGKILL" in str(house.fails(StepFailed))
    assert house.state.steps["train-high"].exit_code == 137


def test_an_exit_code_of_0_without_the_promised_file_is_a_failure_of_its_own(house: House) -> None:
    house.faults["train-high"] = "no-file"
    failure = house.fails(OutputsWrong)
    assert failure.exit_code == 6
    assert f"{house.result('train-high')}: is missing" in str(failure)
    assert house.statuses["train-high"] == "outputs-wrong"
    assert house.folder.key("train-high") is None


def test_a_step_that_failed_after_a_good_one_is_no_longer_known_as_done(house: House) -> None:
    house.execute()
    house.faults["train-high"] = "error"
    house.fails(StepFailed, plan=house.plan("cache-text", "train-low"))
    assert house.folder.key("train-high") is None
    assert house.folder.key("train-low") == {"rank": "16"}


def test_a_failed_caching_is_settled_too(house: House) -> None:
    house.environment["HALF"] = "1"
    failure = house.fails(StepFailed)
    assert "    out of memory" in str(failure)
    assert house.settled == ["cache-text"]
    assert house.statuses["train-high"] == "waiting"


def test_a_loss_of_nan_is_told_while_it_trains(house: House) -> None:
    house.faults["train-high"] = "nan"
    house.execute()
    (warning,) = house.state.steps["train-high"].warnings
    assert "nan from step 4 on" in warning
    assert warning in house.screen.getvalue()


def test_a_stop_leaves_a_folder_that_can_go_on(house: House) -> None:
    house.faults["train-high"] = "hang"
    house.stop_when("hanging")
    failure = house.fails(Interrupted)
    assert failure.exit_code == 130
    assert "Stopped during train-high at step 3 of 6." in failure.summary
    assert house.statuses == {"cache-text": "done", "train-high": "interrupted", "train-low": "waiting"}
    assert house.state.outcome == "interrupted"
    pid = house.state.steps["train-high"].pid
    assert pid is not None
    assert not group_alive(pid)
    assert "stopping train-high" in house.screen.getvalue()
    house.faults.clear()
    house.stop = StopRequest()
    assert house.execute(house.plan("cache-text")).done == ("train-high", "train-low")


def test_a_stubborn_training_is_killed_in_the_end(house: House) -> None:
    house.faults["train-high"] = "stubborn"
    house.stop_when("hanging")
    house.fails(Interrupted, grace_seconds=0.2)
    assert house.state.steps["train-high"].exit_code == 137


def test_a_training_that_ends_well_although_stopped_is_done(house: House) -> None:
    house.faults["train-high"] = "save-on-stop"
    house.stop_when("hanging")
    failure = house.fails(Interrupted)
    assert failure.summary == "Stopped before train-low. Finished steps are kept."
    assert house.statuses == {"cache-text": "done", "train-high": "done", "train-low": "waiting"}
    assert house.folder.key("train-high") == {"rank": "16"}


def test_a_stop_before_the_first_step_starts_nothing(house: House) -> None:
    house.stop.request(signal.SIGTERM)
    failure = house.fails(Interrupted)
    assert failure.exit_code == 143
    assert list(house.folder.logs.iterdir()) == []


def test_a_program_that_is_not_there_is_the_machines_fault(house: House) -> None:
    step = Step("cache-text", ("/no/such/python", "x.py"), CHILDREN, {})
    with pytest.raises(MachineError, match="/no/such/python does not exist"):
        house.execute(Plan("demo", house.folder.path, (), (step,)))
    assert house.settled == ["cache-text"]
    assert house.state.outcome == "failed"


def test_a_rehearsals_folder_takes_no_real_run(house: House) -> None:
    house.rehearsal = True
    house.execute()
    lines = house.screen.getvalue().splitlines()
    assert all(line.startswith("[rehearsal] ") for line in lines)
    house.rehearsal = False
    with pytest.raises(RunFolderError, match="holds a rehearsal") as caught:
        house.execute()
    assert caught.value.exit_code == 7


def test_a_run_that_is_locked_changes_nothing(house: House) -> None:
    house.execute()
    before = house.folder.events.read_bytes()
    with house.folder.lock(), pytest.raises(RunFolderError, match="in use by process"):
        house.execute()
    assert house.folder.events.read_bytes() == before


def test_a_training_left_alive_by_a_killed_run_stops_the_next(house: House) -> None:
    house.execute()
    own = {"pid": os.getpid(), "pgid": os.getpgrp(), "birth": None}
    from wan22lora.run import alive
    from wan22lora.run.ledger import Ledger

    with Ledger(house.folder.events) as ledger:
        host = next(event["host"] for event in read_events(house.folder.events) if "host" in event)
        own["birth"] = alive.birth(os.getpid())
        ledger.append("step-started", id="train-high", argv=[], host=host, **own)
    with pytest.raises(RunFolderError, match="train-high of an earlier, killed run is still running"):
        house.execute()


def test_a_full_disk_ends_the_run_with_a_plain_sentence(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(event: Event) -> None:
        if event["event"] == "train-step":
            monkeypatch.setattr(os, "write", lambda file, data: 0)

    house.on_event = full
    with pytest.raises(MachineError, match="cannot be written: No space left on device"):
        house.execute()
    monkeypatch.undo()
    pid = house.state.steps["train-high"].pid
    assert pid is not None
    assert not group_alive(pid)


def test_a_screen_that_vanishes_does_not_end_the_run(house: House) -> None:
    house.on_event = lambda event: house.screen.close()
    assert len(house.execute().done) == 3


@pytest.fixture
def pair(house: House) -> House:
    """Trainings that do not wait for each other."""
    house.at_once = True
    return house


def overlaps(events: list[Event]) -> bool:
    """Whether both trainings had started before either ended."""
    kinds = [(event["event"], event.get("id")) for event in events]
    return max(kinds.index(("step-started", step)) for step in ("train-high", "train-low")) < min(
        kinds.index(("step-ended", step)) for step in ("train-high", "train-low")
    )


def test_trainings_that_do_not_wait_for_each_other_train_at_the_same_time(pair: House) -> None:
    outcome = pair.execute()
    assert outcome.done == ("cache-text", "train-high", "train-low")
    events = list(read_events(pair.folder.events))
    assert overlaps(events)
    assert next(event["id"] for event in events if event["event"] == "step-ended") == "cache-text"
    assert pair.folder.key("train-high") == pair.folder.key("train-low") == {"rank": "16"}
    for step in ("train-high", "train-low"):
        train = pair.state.steps[step]
        assert (train.status, train.step, train.loss) == ("done", 6, 0.06)
    names = sorted(path.name.partition("-")[2] for path in pair.folder.logs.iterdir())
    assert names == ["cache-text.log", "train-high.log", "train-low.log"]


@pytest.mark.parametrize("failing", ["train-high", "train-low"])
@pytest.mark.parametrize(("fault", "kind"), [("error", StepFailed), ("killed", StepFailed), ("no-file", OutputsWrong)])
def test_one_that_fails_leaves_the_other_to_its_end(pair: House, failing: str, fault: str, kind: type[Failure]) -> None:
    pair.faults[failing] = fault
    failure = pair.fails(kind)
    (other,) = {"train-high", "train-low"} - {failing}
    assert failing in failure.summary
    assert other not in failure.summary
    assert pair.statuses[other] == "done"
    assert pair.folder.key(other) == {"rank": "16"}
    assert pair.folder.key(failing) is None
    assert pair.state.outcome == "failed"


def test_two_that_fail_are_both_told(pair: House) -> None:
    pair.faults = {"train-high": "no-file", "train-low": "error"}
    failure = pair.fails(StepFailed)
    text = str(failure)
    assert "train-high ended without an error, but what it should have written is missing or wrong" in text
    assert "train-low failed with exit code 1" in text
    assert failure.exit_code in (5, 6)  # of the one that failed first
    assert text.count("→ to continue: wan22lora train run.yaml") == 1


def test_a_stop_reaches_both(pair: House) -> None:
    pair.faults = {"train-high": "hang", "train-low": "hang"}
    pair.stop_when("hanging", "train-low")
    failure = pair.fails(Interrupted)
    assert failure.exit_code == 130
    assert "Stopped during train-high" in failure.summary
    assert "Stopped during train-low at step 3 of 6." in failure.summary
    assert (pair.statuses["train-high"], pair.statuses["train-low"]) == ("interrupted", "interrupted")
    assert pair.state.outcome == "interrupted"
    for step in ("train-high", "train-low"):
        pid = pair.state.steps[step].pid
        assert pid is not None
        assert not group_alive(pid)


def test_a_stop_after_one_has_failed_tells_both_and_is_no_clean_stop(pair: House) -> None:
    pair.faults = {"train-high": "error", "train-low": "hang"}

    def ended(event: Event) -> None:
        if event["event"] == "step-ended" and event["id"] == "train-high":
            pair.stop_when("hanging", "train-low")

    pair.on_event = ended
    failure = pair.fails(StepFailed)
    assert failure.exit_code == 5
    assert "train-high failed with exit code 1" in str(failure)
    assert "Stopped during train-low" in str(failure)


def test_a_second_stop_ends_both_at_once(pair: House) -> None:
    pair.faults = {"train-high": "stubborn", "train-low": "stubborn"}
    told: list[str] = []

    def stopping(event: Event) -> None:
        if event["event"] == "stopping":
            told.append(event["id"])
            if len(told) == 2:
                pair.stop.request(signal.SIGINT)

    pair.on_event = stopping
    pair.stop_when("hanging", "train-low")
    started = time.monotonic()
    pair.fails(Interrupted, grace_seconds=60.0)
    assert time.monotonic() - started < 20
    assert {pair.state.steps[step].exit_code for step in ("train-high", "train-low")} == {137}


def test_a_full_disk_ends_both(pair: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.faults = {"train-high": "hang"}

    def full(event: Event) -> None:
        if event["event"] == "train-step" and event["id"] == "train-low":
            monkeypatch.setattr(os, "write", lambda file, data: 0)

    pair.on_event = full
    with pytest.raises(MachineError, match="cannot be written: No space left on device"):
        pair.execute()
    monkeypatch.undo()
    for step in pair.state.steps.values():
        assert step.pid is not None
        assert not group_alive(step.pid)


def test_one_that_cannot_be_started_leaves_the_other_to_its_end(pair: House) -> None:
    plan = pair.plan()
    *others, low = plan.steps
    broken = replace(plan, steps=(*others, replace(low, argv=("/no/such/python",))))
    with pytest.raises(MachineError, match="/no/such/python does not exist"):
        pair.execute(broken)
    assert pair.statuses["train-high"] == "done"


def test_an_earlier_training_left_is_set_aside_for_each(pair: House) -> None:
    pair.execute()
    pair.execute(pair.plan("cache-text"))
    shelves = sorted(path.name.partition("Z-")[2] for path in pair.folder.previous.iterdir())
    assert shelves == ["train-high", "train-low"]


def caching_at_once(house: House, until: dict[StepId, str], half: str = "") -> Plan:
    """Latents and captions that do not wait for each other, and a training that waits for both.

    Each ends once the file of the cache is there that `until` names; `half` fails in the midst.
    """
    cache = house.folder.path / "cache"
    cache.mkdir(parents=True)
    files: dict[StepId, str] = {"cache-latents": "a_wan.safetensors", "cache-text": "a_wan_te.safetensors"}

    def encodes(step_id: StepId, name: str) -> Step:
        encoder = (sys.executable, "-S", str(CHILDREN / "encoder.py"), str(cache / name))
        environment = {"UNTIL": str(cache / until.get(step_id, name)), **({"HALF": "1"} if step_id == half else {})}
        return Step(step_id, encoder, CHILDREN, environment, writes=(cache / name,))

    steps = [encodes(step_id, name) for step_id, name in files.items()]
    training = house.training("train-high", after=("cache-latents", "cache-text"))
    return Plan("demo", house.folder.path, (), (*steps, training))


def test_latents_and_captions_are_encoded_at_the_same_time(house: House) -> None:
    plan = caching_at_once(house, {"cache-latents": "a_wan_te.safetensors", "cache-text": "a_wan.safetensors"})
    assert house.execute(plan).done == ("cache-latents", "cache-text", "train-high")
    assert sorted(house.settled) == ["cache-latents", "cache-text"]
    events = [(event["event"], event.get("id")) for event in read_events(house.folder.events)]
    training = events.index(("step-started", "train-high"))
    assert all(events.index(("step-ended", step)) < training for step in ("cache-latents", "cache-text"))


@pytest.mark.parametrize(("fails", "other"), [("cache-latents", "cache-text"), ("cache-text", "cache-latents")])
def test_one_of_two_cachings_that_fails_leaves_the_other_to_its_end(house: House, fails: str, other: str) -> None:
    failure = house.fails(StepFailed, plan=caching_at_once(house, {}, half=fails))
    assert failure.summary.startswith(f"{fails} failed")
    assert sorted(house.settled) == ["cache-latents", "cache-text"]
    assert house.statuses == {fails: "failed", other: "done", "train-high": "waiting"}


def test_a_stop_reaches_both_cachings(house: House) -> None:
    plan = caching_at_once(house, {"cache-latents": "never", "cache-text": "never"})
    house.stop_when("it [00:00", "cache-text")
    failure = house.fails(Interrupted, plan=plan)
    assert "Stopped during cache-latents" in failure.summary
    assert "Stopped during cache-text" in failure.summary
    assert house.statuses == {"cache-latents": "interrupted", "cache-text": "interrupted", "train-high": "waiting"}
    assert sorted(house.settled) == ["cache-latents", "cache-text"]
