"""Carries a plan out: each step in its turn, tried, logged, checked and only then recorded as done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from wan22lora import __version__
from wan22lora.dataset.problems import listed
from wan22lora.errors import Failure, Interrupted
from wan22lora.files import written
from wan22lora.musubi import log_lines
from wan22lora.plan.model import Plan, Step, StepId
from wan22lora.plan.training import LEARNED
from wan22lora.run import failures
from wan22lora.run.attempt import CACHING, Attempt, Stage, Verify
from wan22lora.run.display import Display, Sturdy
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Ledger
from wan22lora.run.left_running import refuse_left_running
from wan22lora.run.listener import Parse
from wan22lora.run.measuring import Keep
from wan22lora.run.outputs import earlier_outputs
from wan22lora.run.pipes import POLL_SECONDS
from wan22lora.run.read_ahead import read_ahead_during
from wan22lora.run.stop import StopRequest
from wan22lora.run.waiting import Waiting

Settle = Callable[[Step], None]
Earlier = Callable[[Step], Iterable[Path]]
Renew = Callable[[Step], Step | None]


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
    renew: Renew | None = None,
    keep: Keep | None = None,
    stop: StopRequest | None = None,
    grace_seconds: float = 30.0,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run every step of the plan that is not fresh, each once those that it comes after are done.

    Steps that do not come after each other run at the same time. After one that fails no further one starts.

    `verify` looks at the files of a step that exited with 0; an error among its findings fails the step. `begin` is
    called before a caching step removes or makes anything, though it be fresh, and `settle` after every end of one,
    good or bad, before `verify`. `earlier` names what is moved to `previous/` before a step starts. `renew` gives a
    step whose turn it is as it is to run now, or None while what it needs is still on its way; the Failure that it may
    raise is the step's. `keep` is given what a training takes, once it has warmed up and when its process has ended.
    `again` is the command that continues the run. `grace_seconds` is what a program may take to end well when it is
    stopped. Without `stop`, SIGINT, SIGTERM and SIGHUP end the run; a caller that gives one listens itself.

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
        hooks = _Hooks(verify, begin, settle, earlier, renew, keep, parse, diagnose, again, grace_seconds)
        return _Run(stage, hooks).whole(plan)


@dataclass(frozen=True)
class _Hooks:
    verify: Verify
    begin: Settle | None
    settle: Settle | None
    earlier: Earlier
    renew: Renew | None
    keep: Keep | None
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
            done = _Turns(self, plan).all()
            outcome = "done"
        except Interrupted:
            outcome = "interrupted"
            raise
        finally:
            self.stage.emit("run-ended", outcome=outcome)
        skipped = tuple(step.id for step in plan.steps if step.id not in done)
        return Outcome(done, skipped, self.stage.clock() - started)

    def prepare(self, step: Step) -> None:
        """What comes before a step whether it runs or is fresh."""
        with written(self.stage.folder.path):
            shelf = self.stage.folder.set_aside(step.foreign, step.id)
            if shelf is not None:
                text = f"{listed([path.name for path in step.foreign])}, not of this run, moved to {shelf}"
                self.stage.emit("note", id=step.id, text=text)
            if step.id in CACHING and self.hooks.begin is not None:
                self.hooks.begin(step)
            for path in step.stale:  # of a fresh step too: trainings read every cache file that lies there
                path.unlink(missing_ok=True)

    def attempt(self, step: Step, later: Sequence[Step], waiting: Waiting) -> Attempt:
        """A process for the step, not started yet; it may be among those `waiting`. While it trains, the weights of
        the next training among `later` are read ahead.
        """
        with written(self.stage.folder.path):
            self.leave_behind(step)
            if step.states is not None:
                self.stage.folder.store_states_key(step.id, step.key)
            if LEARNED in step.key:
                self.stage.folder.store_learned(step.key[LEARNED], step.learned)
            log = self.stage.folder.new_log(step.id)
        ahead = read_ahead_during(step, later)
        hooks = self.hooks
        return Attempt(self.stage, step, log, hooks.parse, hooks.grace_seconds, ahead, waiting, hooks.keep)

    def settle(self, step: Step) -> None:
        """What comes after a step that ran, however it ended."""
        if step.id in CACHING and self.hooks.settle is not None:
            with written(self.stage.folder.path):
                self.hooks.settle(step)

    def judge(self, attempt: Attempt) -> Failure | None:
        return attempt.judge(self.hooks.verify, self.hooks.diagnose, self.hooks.again)

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


class _Turns:
    """The steps of a plan under way. Each has its turn once those that it comes after are done.

    After a failure, or when a stop was asked for, no further step starts; those that run come to their own end.
    """

    def __init__(self, run: _Run, plan: Plan) -> None:
        self._run, self._plan = run, plan
        self._waiting = list(plan.steps)
        self._running: list[Attempt] = []
        self._done: set[StepId] = set()
        self._failures: list[Failure] = []
        self._early = Waiting(run.hooks.grace_seconds, run.stage.clock)

    def all(self) -> tuple[StepId, ...]:
        """The ids of the steps that ran, in the plan's order. Raises what made one of them fail."""
        try:
            self._start_those_whose_turn_it_is()
            while self._running or (self._waiting and not self._failures):
                self._run.stage.hear()
                for attempt in tuple(self._running):
                    self._advance(attempt)
                if not self._running:  # what the others need is on its way
                    time.sleep(POLL_SECONDS)
                self._run.stage.display.tick()
                self._start_those_whose_turn_it_is()
                self._start_early()
        except BaseException:
            for attempt in self._running:
                attempt.break_off()
                with suppress(Failure):
                    self._run.settle(attempt.step)
            raise
        finally:
            self._early.close()
        if self._failures:
            raise failures.together(self._failures, self._run.hooks.again, self._done)
        return tuple(step.id for step in self._plan.steps if step.id in self._done)

    def _start_those_whose_turn_it_is(self) -> None:
        while not self._failures and (step := self._next()) is not None:
            self._run.prepare(step)
            if step.fresh:
                self._run.stage.emit("step-skipped", id=step.id, why=step.why)
            elif self._run.stage.stop.count:
                if not self._running:  # else they tell how they were stopped
                    self._failures.append(failures.stopped_before(step, self._run.stage.stop, self._run.hooks.again))
                return
            else:
                self._start(step)
            self._waiting.remove(step)

    def _start_early(self) -> None:
        """The programs of steps that come next, where what they come after is at its end."""
        if self._failures or self._run.stage.stop.count:
            self._early.close()
            return
        to_come = {step.id for step in self._waiting if not step.fresh}
        for step in self._waiting:
            before = [attempt for attempt in self._running if attempt.step.id in step.after]
            near = all(attempt.nears_its_end for attempt in before) and to_come.isdisjoint(step.after)
            if step.can_wait and not step.fresh and before and near:
                self._early.start(step, [attempt.step for attempt in self._running])

    def _next(self) -> Step | None:
        unfinished = {step.id for step in (*self._waiting, *(attempt.step for attempt in self._running))}
        for position, step in enumerate(self._waiting):
            if unfinished.isdisjoint(step.after) and not self._failures and self._is_ready(step):
                return self._waiting[position]
        return None

    def _is_ready(self, step: Step) -> bool:
        """Whether nothing it needs is on its way; a stop is told of such a step as of others."""
        renew = self._run.hooks.renew
        if renew is None or step.fresh or self._run.stage.stop.count:
            return True
        try:
            renewed = renew(step)
        except Failure as failure:
            self._failures.append(failure)
            return False
        if renewed is not None:
            self._waiting[self._waiting.index(step)] = renewed
        return renewed is not None

    def _start(self, step: Step) -> None:
        followers = () if self._plan.rehearsal else [each for each in self._plan.steps if step.id in each.after]
        attempt = self._run.attempt(step, followers, self._early)
        trouble = attempt.start()
        if trouble is None:
            self._running.append(attempt)
        else:
            self._run.settle(step)
            self._failures.append(trouble)

    def _advance(self, attempt: Attempt) -> None:
        if not attempt.advance(POLL_SECONDS / len(self._running)):
            return
        self._running.remove(attempt)
        self._run.settle(attempt.step)
        failure = self._run.judge(attempt)
        self._done.add(attempt.step.id)
        if failure is not None:
            self._failures.append(failure)
