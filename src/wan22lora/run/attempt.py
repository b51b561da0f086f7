"""One process of one step: started, listened to, and judged by how it ended and what it left."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from wan22lora.errors import Failure, Finding, MachineError
from wan22lora.files import written
from wan22lora.musubi.programs import CACHE_LATENTS, CACHE_TEXT, TRAIN
from wan22lora.plan.model import Step
from wan22lora.run import alive, failures, wording
from wan22lora.run.account import Account
from wan22lora.run.display import Display
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Event, Ledger
from wan22lora.run.listener import Listener, Parse
from wan22lora.run.measuring import Keep, Measuring
from wan22lora.run.pipes import Stream
from wan22lora.run.process import Child, ProcessResult
from wan22lora.run.read_ahead import ReadAhead
from wan22lora.run.stop import StopRequest
from wan22lora.run.waiting import LEAD_SECONDS, Waiting, environment

Verify = Callable[[Step], Iterable[Finding]]

CACHING = {"cache-latents": CACHE_LATENTS, "cache-text": CACHE_TEXT}


@dataclass(frozen=True)
class Stage:
    """What all steps of a run share."""

    folder: RunFolder
    ledger: Ledger
    display: Display
    stop: StopRequest
    clock: Callable[[], float]
    hearers: dict[str, Callable[[Event], None]] = field(default_factory=dict)
    """By the id of a step: who takes in what its program writes into the ledger itself."""

    def emit(self, event: str, **fields: object) -> None:
        """Write an event into the ledger and show it."""
        with written(self.folder.path):
            record = self.ledger.append(event, **fields)
        self.display.show(record)

    def hear(self) -> None:
        """Hand what the programs have written into the ledger to their steps' hearers."""
        for event in self.ledger.news():
            hearer = self.hearers.get(str(event.get("id")))
            if hearer is not None:
                hearer(event)


class Attempt:
    """One process of one step; `advance`, called often, moves it on."""

    def __init__(
        self,
        stage: Stage,
        step: Step,
        log: Path,
        parse: Parse,
        grace_seconds: float,
        ahead: ReadAhead | None = None,
        waiting: Waiting | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.step = step
        self._stage = stage
        self._log = log
        self._ahead = ahead
        self._listener = Listener(step, self._emit, stage.clock, parse)
        self._measuring = Measuring(step, keep)
        self._account = Account(step)
        self._grace_seconds = grace_seconds
        self._waiting = waiting
        self._child: Child | None = None
        self._result: ProcessResult | None = None
        self._stopping_told = False
        self._file: BinaryIO | None = None

    def start(self) -> MachineError | None:
        """Start the process, or tell one that waits for this to begin; the reason where it cannot be started."""
        self._file = self._log.open("ab")
        self._stage.hearers[self.step.id] = self._hear
        if self._begin_waiting():
            return None
        try:
            self._child = Child(
                self.step.argv,
                self.step.cwd,
                environment(self.step),
                on_chunk=self._take,
                grace_seconds=self._grace_seconds,
                clock=self._stage.clock,
            )
        except MachineError as error:
            del self._stage.hearers[self.step.id]
            self._file.close()
            return error
        self._tell_start(self._child.pid)
        return None

    def advance(self, wait_seconds: float) -> bool:
        """Listen to the process for at most so long; True once it has ended."""
        assert self._child is not None
        try:
            self._result = self._child.advance(self._stage.stop.count, wait_seconds)
            if self._result is None:
                self._tick()
        except KeyboardInterrupt:
            self._stage.stop.request(signal.SIGINT)
        if self._result is None:
            return False
        self._finish()
        return True

    @property
    def nears_its_end(self) -> bool:
        """Whether it is worth while to start what comes next."""
        left = self._account.seconds_left
        return self.step.id in CACHING or (left is not None and left <= LEAD_SECONDS)

    def break_off(self) -> None:
        """End the process at once, in a run that cannot go on."""
        if self._child is None or self._result is not None:
            return
        self._child.close()
        with suppress(Failure):  # what the run ends for, a full disk for instance, may stand against this too
            self._tell_end("failed", None, None)
            self._finish()

    def judge(self, verify: Verify, diagnose: failures.Diagnose | None, again: str) -> Failure | None:
        """Record the step as done, or say what is wrong with it.

        A loss that ended as NaN, or a cache of nothing, is wrong too, though the program did not notice.
        """
        stage, step, result = self._stage, self.step, self._result
        assert result is not None
        findings = tuple(verify(step)) if result.exit_code == 0 else ()
        errors = [finding for finding in findings if finding.level == "error"]
        for finding in findings:
            if finding.level == "warning":
                stage.emit("warning", id=step.id, text=str(finding))
        program = CACHING.get(step.id, TRAIN)
        unnoticed = result.exit_code == 0 and any(
            diagnose(program, 0, self._listener.transcript.lines) if diagnose else ()
        )
        if result.exit_code == 0 and not errors and not unnoticed:
            with written(stage.folder.path):
                if step.key:
                    stage.folder.store_key(step.id, step.key)
            self._tell_end("done", result.exit_code, result.seconds)
            return None
        ended = failures.Ended(
            step,
            program,
            result,
            self._log,
            self._listener.transcript,
            again,
            self._account,
            self._grace_seconds,
        )
        if stage.stop.count or failures.stopped_from_outside(ended):
            self._tell_end("interrupted", result.exit_code, result.seconds)
            return failures.stopped_during(ended, stage.stop, self._account.reached or self._listener.progress)
        if result.exit_code == 0:
            self._tell_end("outputs-wrong", result.exit_code, result.seconds)
            return failures.outputs_wrong(ended, errors, diagnose)
        self._tell_end("failed", result.exit_code, result.seconds)
        return failures.step_failed(ended, diagnose)

    def _begin_waiting(self) -> bool:
        """Whether the process that waits has begun. It is in the ledger before it can have done anything."""
        child = self._waiting.take(self.step) if self._waiting is not None else None
        if child is None:
            return False
        try:
            self._tell_start(child.pid)
            if child.begin(self._take):
                self._child = child
                return True
        finally:
            if self._child is None:
                child.close()
        return False

    def _finish(self) -> None:
        """What remains to be heard of a process that has ended."""
        if self._ahead is not None:
            self._ahead.stop()
        self._stage.hear()
        self._stage.hearers.pop(self.step.id, None)
        self._listener.finish()
        self._measuring.finish()
        self._read_ahead()
        assert self._file is not None
        self._file.close()

    def _emit(self, event: str, **fields: object) -> None:
        """What was read from the program's output."""
        self._stage.emit(event, **fields)
        self._measuring.take({"event": event, **fields})

    def _take(self, stream: Stream, data: bytes) -> None:
        assert self._file is not None
        with written(self._log):
            self._file.write(data)
            self._file.flush()
        self._stage.display.heard(self.step.id, self._listener.take(stream, data))

    def _tell_start(self, pid: int) -> None:
        step = self.step
        self._stage.emit(
            "step-started",
            id=step.id,
            argv=step.argv,
            cwd=step.cwd,
            why=step.why,
            log=f"{self._log.parent.name}/{self._log.name}",
            total=step.predicted_steps,
            pid=pid,
            pgid=pid,
            birth=alive.birth(pid),
            host=socket.gethostname(),
        )

    def _tell_end(self, outcome: str, exit_code: int | None, seconds: float | None) -> None:
        self._stage.emit("step-ended", id=self.step.id, outcome=outcome, exit_code=exit_code, seconds=seconds)

    def _tick(self) -> None:
        if self._stage.stop.count and not self._stopping_told:
            self._stopping_told = True
            self._stage.emit("stopping", id=self.step.id, text=self._stopping())
        self._listener.tick()
        self._read_ahead()

    def _read_ahead(self) -> None:
        """The next training's weights, as soon as this one's are loaded."""
        if self._ahead is None:
            return
        if self._stage.stop.count:
            self._ahead.stop()
        elif self._account.begun or self._listener.progress:
            self._ahead.start()
        text = self._ahead.news()
        if text:
            self._stage.emit("note", id=self._ahead.step_id, text=text)

    def _stopping(self) -> str:
        if not self.step.reports:
            return f"stopping {self.step.id}; Ctrl-C again ends it at once"
        if not self._account.begun:
            return f"stopping {self.step.id} while it loads; Ctrl-C again ends it at once"
        at_most = wording.duration(self._grace_seconds)
        step = min(self._account.reached + 1, self.step.predicted_steps or self._account.reached + 1)
        return f"finishing step {step}, saving a state ({at_most} at most); Ctrl-C again ends it at once"

    def _hear(self, event: Event) -> None:
        """The trainer's own events are in the ledger already; they are shown, and remembered for its end."""
        step, stage = self.step, self._stage
        self._account.take(event)
        self._measuring.take(event)
        stage.display.heard(step.id, "")
        stage.display.show(event)
        total = event.get("total")
        if event["event"] == "training-begun" and step.predicted_steps not in (None, total):
            text = f"the trainer counts {total} optimizer steps where {step.predicted_steps} were predicted"
            stage.emit("warning", id=step.id, text=text)
