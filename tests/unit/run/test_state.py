"""The fold: what a list of events says about a run."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.run.ledger import Event
from wan22lora.run.pace import Pace
from wan22lora.run.state import RunState, fold

START: Event = {
    "t": 10.0,
    "event": "run-started",
    "name": "demo",
    "rehearsal": True,
    "steps": ["cache-text", "train"],
}


def started(step_id: str, t: float = 11.0) -> Event:
    return {"t": t, "event": "step-started", "id": step_id, "pid": 5, "pgid": 5, "birth": 99, "total": 4}


def trained(step: int, loss: float = 0.1, seconds: float | None = 2.0) -> Event:
    return {"t": 1, "event": "train-step", "id": "train", "step": step, "total": 4, "loss": loss} | {"seconds": seconds}


def ended(step_id: str, outcome: str, exit_code: int = 0) -> Event:
    return {"t": 50.0, "event": "step-ended", "id": step_id, "outcome": outcome, "exit_code": exit_code}


def test_nothing_happened_yet() -> None:
    assert fold([]) == RunState()


def test_a_run_begins_with_its_steps_waiting_in_the_plans_order() -> None:
    state = fold([START])
    assert (state.name, state.rehearsal, state.started, state.outcome) == ("demo", True, 10.0, "")
    assert [(step.id, step.status) for step in state.steps.values()] == [
        ("cache-text", "waiting"),
        ("train", "waiting"),
    ]


def test_a_training_in_progress() -> None:
    skipped: Event = {"t": 10.5, "event": "step-skipped", "id": "cache-text", "why": "nothing changed"}
    steps = [trained(1, seconds=None), trained(2, seconds=9.0), trained(3, loss=0.07)]
    saved: Event = {"t": 1, "event": "checkpoint", "id": "train", "path": "a.safetensors"}
    state = fold([START, skipped, started("train"), *steps, saved])
    assert state.steps["cache-text"].status == "skipped"
    assert state.steps["cache-text"].why == "nothing changed"
    train = state.steps["train"]
    assert (train.status, train.step, train.total, train.loss) == ("running", 3, 4, 0.07)
    assert train.seconds_per_step == 2.0
    assert train.seconds_left == 2.0
    assert train.checkpoints == ("a.safetensors",)
    assert state.unfinished == (train,)


@pytest.mark.parametrize("outcome", ["done", "failed", "outputs-wrong", "interrupted"])
def test_a_step_that_ended(outcome: str) -> None:
    state = fold([START, started("train"), ended("train", outcome, 1)])
    assert state.steps["train"].status == outcome
    assert state.steps["train"].exit_code == 1
    assert state.unfinished == ()


def test_a_step_that_a_killed_run_left_is_lost_when_the_next_run_begins() -> None:
    state = fold([START, started("train"), START])
    assert state.steps["train"].status == "lost"
    assert [step.pid for step in state.unfinished] == [5]


def test_a_second_attempt_starts_from_nothing() -> None:
    first = [START, started("train"), trained(3), ended("train", "failed", 1)]
    step = fold([*first, START, started("train")]).steps["train"]
    assert (step.status, step.step, step.exit_code, step.checkpoints) == ("running", 0, None, ())


def test_a_skipped_step_keeps_what_its_last_attempt_reached() -> None:
    skipped: Event = {"t": 60, "event": "step-skipped", "id": "train", "why": ""}
    step = fold([START, started("train"), trained(4), ended("train", "done"), START, skipped]).steps["train"]
    assert (step.status, step.step) == ("skipped", 4)


def begun(step: int, state: str | None) -> Event:
    fields = {"step": step, "total": 300, "epoch": 1 + step // 100, "epochs": 3, "state": state}
    return {"t": 20.0, "event": "training-begun", "id": "train", **fields}


def test_a_trainer_that_no_run_has_started_was_started_by_hand() -> None:
    state = fold([begun(0, None), trained(1), trained(2)])
    train = state.steps["train"]
    assert (train.status, train.step, train.total, train.heard, train.told_end) == ("by-hand", 2, 4, 1, "")
    end: Event = {"t": 30.0, "event": "training-ended", "id": "train", "step": 2, "seconds": 9.0}
    train = fold([begun(0, None), trained(1), trained(2), end]).steps["train"]
    assert (train.status, train.heard, train.told_end) == ("by-hand", 30.0, "ended")


def test_a_training_by_hand_after_a_run_is_told_apart_from_it() -> None:
    events = [START, started("train"), begun(0, None), trained(4), ended("train", "done")]
    assert fold(events).steps["train"].status == "done"
    state = fold([*events, begun(0, None), trained(1)])
    assert (state.steps["train"].status, state.steps["train"].step) == ("by-hand", 1)


def test_what_a_killed_runs_training_still_tells_is_not_by_hand() -> None:
    events = [START, started("train"), START, begun(0, None), trained(1)]
    assert fold(events).steps["train"].status == "lost"


def test_a_later_run_with_nothing_to_do_leaves_what_was_done_by_hand() -> None:
    nothing: list[Event] = [
        {"t": 40.0, "event": "step-skipped", "id": step, "why": "current"} for step in ("cache-text", "train")
    ]
    end: Event = {"t": 41.0, "event": "run-ended", "outcome": "done"}
    state = fold([begun(0, None), trained(4), START, *nothing, end])
    assert (state.name, state.started, state.steps["train"].status) == ("demo", None, "by-hand")


def told(step: int, loss: float | str, **more: Any) -> Event:
    """A step as the trainer extension tells it."""
    fields = {"step": step, "total": 300, "epoch": 1, "loss": loss, "seconds": 2.0, "lr": 1e-4, "samples": 2}
    return {"t": 21.0 + step, "event": "train-step", "id": "train", **fields, **more}


def of(event: str, **fields: Any) -> Event:
    return {"t": 30.0, "event": event, "id": "train", **fields}


def test_what_a_reporting_trainer_tells_is_gathered() -> None:
    both = {"losses": {"diffusion": 0.1, "preservation": 0.02}}
    step = fold(
        [
            START,
            started("train"),
            of("weights-loaded", seconds=60.0, ram_peak=30, gpu_peak=20, gpu_allocated=15),
            begun(0, None),
            told(1, 0.1, gpu_peak=18, gpu_reserved=19, **both),
            told(2, 0.3, gpu_peak=25, gpu_reserved=26),
            of("epoch", epoch=1, of=3, step=2),
            of(
                "checkpoint", path="a.safetensors", sha256="x", step=2, epoch=1, ema="a-ema.safetensors", ema_sha256="y"
            ),
            of("state", path="states/train/step-00000002", step=2, bytes=7, seconds=1.0),
            of("validation", step=2, loss=0.2, bins=[{"low": 875, "high": 906, "loss": 0.25}], seconds=3.0),
            of("paused", text="no room"),
        ]
    ).steps["train"]
    assert (step.step, step.total, step.epoch, step.epochs, step.lr, step.samples) == (2, 300, 1, 3, 1e-4, 4)
    assert (step.loss, step.recent_preservation) == (0.3, 0.02)
    assert step.recent_loss == pytest.approx(0.2)
    assert (step.ram_peak, step.gpu_peak, step.gpu_reserved) == (30, 25, 26)
    assert step.checkpoints == ("a.safetensors", "a-ema.safetensors")
    assert step.state is not None
    assert (step.state.step, step.state.bytes) == (2, 7)
    assert step.validation is not None
    assert (step.validation.loss, step.validation.bins[0].loss) == (0.2, 0.25)
    assert (step.loaded, step.paused) == (True, "no room")


def test_the_loss_that_is_shown_is_the_mean_of_the_last_fifty_steps() -> None:
    losses = [told(number, 100.0 if number <= 50 else 0.1 * (number % 2)) for number in range(1, 101)]
    step = fold([START, started("train"), begun(0, None), *losses]).steps["train"]
    assert step.recent_loss == pytest.approx(0.05)
    broken = fold([START, started("train"), begun(0, None), *losses, told(101, "nan")]).steps["train"]
    assert broken.recent_loss is not None
    assert math.isnan(broken.recent_loss)
    again = fold([START, started("train"), begun(0, None), *losses, told(101, "nan"), told(102, 0.05)]).steps["train"]
    assert again.recent_loss == pytest.approx(0.05, abs=0.01)


def test_a_continued_training_goes_on_counting_at_a_new_pace() -> None:
    first = [START, started("train"), begun(0, None), *(told(number, 0.1) for number in range(1, 121))]
    saved = of("state", path="states/train/step-00000120", step=120, bytes=7, seconds=1.0)
    history = [
        *first,
        of("checkpoint", path="a.safetensors"),
        saved,
        told(121, 0.1),
        ended("train", "interrupted", 130),
    ]
    before = fold([*history, START, started("train")]).steps["train"]
    assert (before.step, before.loaded) == (0, False)
    step = fold([*history, START, started("train"), begun(120, "states/train/step-00000120")]).steps["train"]
    assert (step.step, step.total, step.checkpoints, step.samples) == (120, 300, ("a.safetensors",), 242)
    assert step.seconds_per_step is None
    assert step.recent_loss == pytest.approx(0.1)
    assert step.state is not None
    assert (step.state.step, step.state.bytes) == (120, 7)


def test_a_start_that_came_to_nothing_does_not_lose_what_was_before() -> None:
    state = of("state", path="s", step=9, bytes=7, seconds=1.0)
    first = [START, started("train"), begun(0, None), told(9, 0.1), of("checkpoint", path="a"), state]
    failed = [START, started("train"), ended("train", "failed", 1)]
    step = fold([*first, *failed, *failed, START, started("train"), begun(9, "s")]).steps["train"]
    assert (step.checkpoints, step.step) == (("a",), 9)


def test_a_run_that_had_nothing_to_do_leaves_what_the_last_one_came_to() -> None:
    whole = [
        START,
        started("cache-text"),
        ended("cache-text", "done"),
        started("train"),
        trained(4),
        ended("train", "done"),
    ]
    done: list[Event] = [*whole, {"t": 90.0, "event": "run-ended", "outcome": "done"}]
    skipped: list[Event] = [
        {"t": 200.5, "event": "step-skipped", "id": name, "why": "fresh"} for name in ("cache-text", "train")
    ]
    again: list[Event] = [{**START, "t": 200.0}, *skipped, {"t": 201.0, "event": "run-ended", "outcome": "done"}]
    state = fold([*done, *again])
    assert (state.started, state.ended, state.outcome) == (10.0, 90.0, "done")
    assert [step.status for step in state.steps.values()] == ["done", "done"]
    assert fold([*done, *again, *again]) == state
    alone = fold(again)  # of the run before nothing is known
    assert (alone.started, alone.ended) == (200.0, 201.0)


def test_caches_that_are_looked_at_once_more_do_not_hide_that_the_training_failed() -> None:
    failed: list[Event] = [START, started("train"), ended("train", "failed", 1)]
    looked: list[Event] = [
        {**START, "t": 200.0, "steps": ["cache-text"]},
        {"t": 200.5, "event": "step-skipped", "id": "cache-text", "why": "fresh"},
        {"t": 201.0, "event": "run-ended", "outcome": "done"},
    ]
    state = fold([*failed, {"t": 90.0, "event": "run-ended", "outcome": "failed"}, *looked])
    assert (state.outcome, state.ended, state.steps["train"].status) == ("failed", 90.0, "failed")


def test_a_training_that_begins_anew_has_nothing_of_the_one_before() -> None:
    first = [START, started("train"), begun(0, None), told(9, 0.1), of("checkpoint", path="a")]
    step = fold([*first, START, started("train"), begun(0, None)]).steps["train"]
    assert (step.checkpoints, step.step, step.loss, step.state) == ((), 0, None, None)


def test_the_first_interval_and_single_slow_ones_do_not_change_the_pace() -> None:
    pace = Pace()
    assert pace.seconds_per_step is None
    for seconds in (None, 60.0, 2.0, 2.1, 45.0, 1.9, 2.0):
        pace.add(seconds)
    assert pace.seconds_per_step == 2.0


def test_the_pace_follows_a_machine_that_slows_down() -> None:
    pace = Pace()
    for seconds in [2.0] * 1000 + [5.0] * 30:
        pace.add(seconds)
    assert pace.seconds_per_step == 5.0


anything: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 10**400, 1.5, float("nan"), float("inf"), "", "train", [1], {}]
)
names = st.sampled_from(
    [
        "run-started",
        "step-skipped",
        "step-started",
        "train-step",
        "checkpoint",
        "warning",
        "training-begun",
        "state",
        "weights-loaded",
        "epoch",
        "validation",
        "paused",
        "unpaused",
        "training-failed",
    ]
)
fields = st.sampled_from(
    [
        "id",
        "step",
        "total",
        "loss",
        "seconds",
        "path",
        "steps",
        "name",
        "t",
        "outcome",
        "lr",
        "losses",
        "samples",
        "epoch",
        "epochs",
        "of",
        "state",
        "bins",
        "bytes",
        "text",
        "reason",
        "gpu_peak",
    ]
)


@given(st.lists(st.tuples(names | anything, st.dictionaries(fields, anything, max_size=6)), max_size=6))
def test_no_event_can_make_the_fold_fail(events: list[tuple[Any, dict[str, Any]]]) -> None:
    state = fold([START, started("train"), *({**fields, "event": name} for name, fields in events)])
    assert all((step.seconds_left or 0.0) >= 0.0 for step in state.steps.values())


def test_a_million_steps_fold_in_under_five_seconds() -> None:
    def history() -> Iterator[Event]:
        yield START
        yield started("train")
        event = dict(trained(1))
        for step in range(1, 1_000_001):
            event["step"] = step
            yield event

    begin = time.process_time()  # other tests take their share of the processor
    assert fold(history()).steps["train"].step == 1_000_000
    assert time.process_time() - begin < 5
