"""Carries a plan out: step by step, each tried, logged, checked and only then recorded as done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wan22lora import __version__
from wan22lora.errors import Interrupted
from wan22lora.files import written
from wan22lora.musubi import log_lines
from wan22lora.plan.model import Plan, Step, StepId
from wan22lora.run import failures
from wan22lora.run.attempt import CACHING, Attempt, Stage, Verify
from wan22lora.run.display import Display, Sturdy
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Ledger
from wan22lora.run.left_running import refuse_left_running
from wan22lora.run.listener import Parse
from wan22lora.run.outputs import earlier_outputs
from wan22lora.run.read_ahead import read_ahead_during
from wan22lora.run.stop import StopRequest

Settle = Callable[[Step], None]
Earlier = Callable[[Step], Iterable[Path]]


@dataclass(frozen=True)
class Outcome:
    """A plan that was carried out to its end."""

    done: tuple[StepId, ...]
    """Steps that ran; the others were fresh."""
    skipped: tuple[StepId, ...]
    seconds: float


def execute(
    plan: Plan,
    folder: RunFolder,
    *,
    display: Display,
    verify: Verify,
    again: str,
    parse: Parse = log_lines.parse,
    diagnose: failures.Diagnose | None = None,
    begin: Settle | None = None,
    settle: Settle | None = None,
    earlier: Earlier = earlier_outputs,
    stop: StopRequest | None = None,
    grace_seconds: float = 30.0,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run every step of the plan that is not fresh, in order, and stop at the first that fails.

    `verify` looks at the files of a step that exited with 0; an error among its findings fails the step. `begin` is
    called before a caching step removes or makes anything, though it be fresh, and `settle` after every end of one,
    good or bad, before `verify`. `earlier` names what is moved to `previous/` before a step starts. `again` is the
    command that continues the run. `grace_seconds` is what a program may take to end well when it is stopped. Without
    `stop`, SIGINT, SIGTERM and SIGHUP end the run; a caller that gives one
    listens itself.

    Raises StepFailed (OutOfMemory among them), OutputsWrong, Interrupted, RunFolderError (locked, not this run's, still
    running) and MachineError (a program that cannot be started, a disk that refuses, another musubi-tuner than the
    trainer was written for).
    """
    with ExitStack() as stack:
        if stop is None:
            stop = stack.enter_context(StopRequest().listening())
        folder.create()
        stack.enter_context(folder.lock())
        with written(folder.path):
            folder.claim(plan.name, rehearsal=plan.rehearsal)
            refuse_left_running(folder.path, grace_seconds)
            folder.write_planned(plan.files)
            ledger = stack.enter_context(Ledger(folder.events, now))
        sturdy = Sturdy(display)
        stack.callback(sturdy.close)
        stage = Stage(folder, ledger, sturdy, stop, clock)
        hooks = _Hooks(verify, begin, settle, earlier, parse, diagnose, again, grace_seconds)
        return _Run(stage, hooks).whole(plan)


@dataclass(frozen=True)
class _Hooks:
    verify: Verify
    begin: Settle | None
    settle: Settle | None
    earlier: Earlier
    parse: Parse
    diagnose: failures.Diagnose | None
    again: str
    grace_seconds: float


@dataclass(frozen=True)
class _Run:
    stage: Stage
    hooks: _Hooks

    def whole(self, plan: Plan) -> Outcome:
        started = self.stage.clock()
        ids = [step.id for step in plan.steps]
        self.stage.emit("run-started", name=plan.name, rehearsal=plan.rehearsal, steps=ids, version=__version__)
        outcome = "failed"
        try:
            with written(self.stage.folder.path):
                for step in plan.steps:  # now, so that a run that is stopped before their turn goes on with them anew
                    if step.anew:
                        self.leave_behind(step)
            done = tuple(
                [
                    step.id
                    for number, step in enumerate(plan.steps, 1)
                    if self.step(step, () if plan.rehearsal else plan.steps[number:])
                ]
            )
            outcome = "done"
        except Interrupted:
            outcome = "interrupted"
            raise
        finally:
            self.stage.emit("run-ended", outcome=outcome)
        skipped = tuple(step.id for step in plan.steps if step.id not in done)
        return Outcome(done, skipped, self.stage.clock() - started)

    def step(self, step: Step, later: Sequence[Step]) -> bool:
        """True if the step ran to its good end, False if it was fresh.

        While it trains, the weights of the next training among `later` are read ahead.
        """
        with written(self.stage.folder.path):
            if step.id in CACHING and self.hooks.begin is not None:
                self.hooks.begin(step)
            for path in step.stale:  # of a fresh step too: trainings read every cache file that lies there
                path.unlink(missing_ok=True)
        if step.fresh:
            self.stage.emit("step-skipped", id=step.id, why=step.why)
            return False
        if self.stage.stop.count:
            raise failures.stopped_before(step, self.stage.stop, self.hooks.again)
        with written(self.stage.folder.path):
            self.leave_behind(step)
            if step.states is not None:
                self.stage.folder.store_states_key(step.id, step.key)
            log = self.stage.folder.new_log(step.id)
        attempt = Attempt(self.stage, step, log, self.hooks.parse, read_ahead_during(step, later))
        try:
            result = attempt.run(self.hooks.grace_seconds)
        finally:
            if step.id in CACHING and self.hooks.settle is not None:
                with written(self.stage.folder.path):
                    self.hooks.settle(step)
        attempt.judge(result, self.hooks.verify, self.hooks.diagnose, self.hooks.again)
        return True

    def leave_behind(self, step: Step) -> None:
        """Nothing of an earlier training may be taken for this one's: first its states, which could be continued."""
        folder = self.stage.folder
        if step.longer:
            shelf = folder.keep_copies((*step.writes, folder.key_file(step.id)), step.id)
            if shelf is not None:
                self.stage.emit("note", id=step.id, text=f"the result of the shorter training is kept in {shelf}")
            if step.ended_at is not None:  # finished until the longer one has a state of its own
                folder.extend_key(step.id, step.ended_at)
        folder.forget_key(step.id)
        states = folder.states / step.id
        if not any(states.glob("step-*")):  # it came to no state: nothing worth keeping
            shutil.rmtree(states, ignore_errors=True)
        earlier = self.hooks.earlier(step) if step.continues else (states, *self.hooks.earlier(step))
        shelf = folder.set_aside(earlier, step.id)
        if shelf is not None:
            self.stage.emit("note", id=step.id, text=f"files of an earlier training are moved to {shelf}")
