"""One process of one step: started, listened to, and judged by how it ended and what it left."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from wan22lora.errors import Finding
from wan22lora.files import written
from wan22lora.musubi.programs import CACHE_LATENTS, CACHE_TEXT, TRAIN
from wan22lora.plan.model import Step
from wan22lora.run import alive, failures, wording
from wan22lora.run.account import Account
from wan22lora.run.display import Display
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Ledger
from wan22lora.run.listener import Listener, Parse
from wan22lora.run.pipes import Stream
from wan22lora.run.process import ProcessResult, run_process
from wan22lora.run.read_ahead import ReadAhead
from wan22lora.run.stop import StopRequest

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

    def emit(self, event: str, **fields: object) -> None:
        """Write an event into the ledger and show it."""
        with written(self.folder.path):
            record = self.ledger.append(event, **fields)
        self.display.show(record)


class Attempt:
    """One process of one step."""

    def __init__(self, stage: Stage, step: Step, log: Path, parse: Parse, ahead: ReadAhead | None = None) -> None:
        self._stage = stage
        self._step = step
        self._log = log
        self._ahead = ahead
        self._listener = Listener(step, stage.emit, stage.clock, parse)
        self._account = Account(step)
        self._grace_seconds = 0.0
        self._pid: int | None = None
        self._stopping_told = False

    def run(self, grace_seconds: float) -> ProcessResult:
        self._grace_seconds = grace_seconds
        with self._log.open("ab") as log:

            def on_chunk(stream: Stream, data: bytes) -> None:
                with written(self._log):
                    log.write(data)
                    log.flush()
                self._stage.display.heard(self._listener.take(stream, data))

            try:
                return run_process(
                    self._step.argv,
                    self._step.cwd,
                    {**os.environ, **self._step.env},
                    on_chunk=on_chunk,
                    stop=self._stage.stop,
                    on_start=self._started,
                    on_tick=self._tick,
                    grace_seconds=grace_seconds,
                    clock=self._stage.clock,
                )
            except BaseException:
                if self._pid is not None:
                    self._ended("failed", None, None)
                raise
            finally:
                if self._ahead is not None:
                    self._ahead.stop()
                self._hear_of_the_trainer()
                self._listener.finish()
                self._read_ahead()

    def judge(self, result: ProcessResult, verify: Verify, diagnose: failures.Diagnose | None, again: str) -> None:
        """Record the step as done, or raise what is wrong with it.

        A loss that ended as NaN, or a cache of nothing, is wrong too, though the program did not notice.
        """
        stage, step = self._stage, self._step
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
            self._ended("done", result.exit_code, result.seconds)
            return
        attempt = failures.Ended(
            step,
            program,
            result,
            self._log,
            self._listener.transcript,
            again,
            self._account,
            self._grace_seconds,
        )
        if stage.stop.count or failures.stopped_from_outside(attempt):
            self._ended("interrupted", result.exit_code, result.seconds)
            raise failures.stopped_during(attempt, stage.stop, self._account.reached or self._listener.progress)
        if result.exit_code == 0:
            self._ended("outputs-wrong", result.exit_code, result.seconds)
            raise failures.outputs_wrong(attempt, errors, diagnose)
        self._ended("failed", result.exit_code, result.seconds)
        raise failures.step_failed(attempt, diagnose)

    def _started(self, pid: int) -> None:
        self._pid = pid
        step = self._step
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

    def _ended(self, outcome: str, exit_code: int | None, seconds: float | None) -> None:
        self._stage.emit("step-ended", id=self._step.id, outcome=outcome, exit_code=exit_code, seconds=seconds)

    def _tick(self) -> None:
        if self._stage.stop.count and not self._stopping_told:
            self._stopping_told = True
            self._stage.emit("stopping", id=self._step.id, text=self._stopping())
        self._hear_of_the_trainer()
        self._listener.tick()
        self._read_ahead()
        self._stage.display.tick()

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
        if not self._step.reports:
            return f"stopping {self._step.id}; Ctrl-C again ends it at once"
        if not self._account.begun:
            return f"stopping {self._step.id} while it loads; Ctrl-C again ends it at once"
        at_most = wording.duration(self._grace_seconds)
        step = min(self._account.reached + 1, self._step.predicted_steps or self._account.reached + 1)
        return f"finishing step {step}, saving a state ({at_most} at most); Ctrl-C again ends it at once"

    def _hear_of_the_trainer(self) -> None:
        """Its own events are in the ledger already; they are shown, and remembered for its end."""
        step, stage = self._step, self._stage
        for event in stage.ledger.news():
            if event.get("id") != step.id:
                continue
            self._account.take(event)
            stage.display.heard("")
            stage.display.show(event)
            total = event.get("total")
            if event["event"] == "training-begun" and step.predicted_steps not in (None, total):
                text = f"the trainer counts {total} optimizer steps where {step.predicted_steps} were predicted"
                stage.emit("warning", id=step.id, text=text)
