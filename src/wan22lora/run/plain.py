"""Lines for a file, a pipe or a dumb terminal: one per meaningful event, progress now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from wan22lora.dataset.problems import counted
from wan22lora.run import wording
from wan22lora.run.display import QUIET_SECONDS, Watched
from wan22lora.run.ledger import Event
from wan22lora.run.state import RunState, StepState

_LINE_WIDTH = 100
"""Longer lines of the program are cut where they are quoted."""


class PlainDisplay:
    """Prints progress when `every_seconds` have passed, or `every_percent` of the steps but at least 5 s."""

    def __init__(
        self,
        folder: Path,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        every_seconds: float = 60.0,
        every_percent: float = 5.0,
    ) -> None:
        self._folder = folder
        self._stream = stream
        self._watched = Watched(clock)
        self._every_seconds = every_seconds
        self._every_percent = every_percent
        self._told_at: dict[str, float] = {}
        self._told_step: dict[str, int] = {}
        self._told_quiet: dict[str, float] = {}

    def show(self, event: Event) -> None:
        self._watched.show(event)
        state = self._watched.state
        kind, step = event["event"], state.steps.get(str(event.get("id")))
        if kind == "run-started":
            self._say(f"{state.name}: {counted(len(state.steps), 'step')}, run folder {self._folder}")
            if state.rehearsal:
                self._say(f"{wording.REHEARSAL}.")
        elif kind == "run-ended":
            self._run_ended(state)
        elif kind == "stopping":
            text = str(event["text"])
            if step is not None and len(self._watched.running) > 1:
                self._say_of(step, text)
            else:
                self._say(text)
        elif step is not None:
            self._step_event(kind, event, step)

    def heard(self, step_id: str, line: str) -> None:
        self._watched.heard(step_id, line)
        self._told_quiet[step_id] = 0.0

    def tick(self) -> None:
        for step in self._watched.running:
            quiet, line = self._watched.quiet_seconds(step.id), self._watched.last_line(step.id)
            if quiet >= self._told_quiet.get(step.id, 0.0) + QUIET_SECONDS:
                self._told_quiet[step.id] = quiet
                self._say_of(step, wording.silence(quiet, step.pid))
            elif not step.loaded and self._since_told(step) >= self._every_seconds and line:
                self._say_of(step, f"at work: {_cut(line)}")

    def close(self) -> None:
        self._stream.flush()

    def _step_event(self, kind: str, event: Event, step: StepState) -> None:
        if kind == "step-skipped":
            self._say_of(step, f"up to date ({step.why})")
        elif kind == "step-started":
            self._told_step[step.id] = 0
            length = f", {counted(step.total, 'step')}" if step.total else ""
            reason = f" ({step.why})" if step.why else ""
            self._say_of(step, f"started{length}{reason}, log {step.log}")
        elif kind == "train-step":
            self._progress(step)
        elif kind == "step-ended":
            self._say_of(step, wording.ending(step))
        else:
            text = wording.told(event)
            if text is not None:
                self._say_of(step, text)

    def _progress(self, step: StepState) -> None:
        percent = 100 * (step.step - self._told_step.get(step.id, 0)) / step.total if step.total else 0.0
        waited = self._since_told(step)
        due = waited >= self._every_seconds or (percent >= self._every_percent and waited >= 5.0)
        if due or step.step == step.total:
            self._told_step[step.id] = step.step
            self._say_of(step, ", ".join(filter(None, [f"step {wording.position(step)}", wording.figures(step)])))

    def _run_ended(self, state: RunState) -> None:
        if state.outcome != "done":
            return
        took = wording.duration((state.ended or 0.0) - (state.started or 0.0))
        if all(step.status == "skipped" for step in state.steps.values()):
            self._say("nothing to do: every step is up to date")
        elif state.rehearsal:
            self._say(f"rehearsal finished in {took}; nothing was trained")
        else:
            self._say(f"finished in {took}")

    def _since_told(self, step: StepState) -> float:
        return self._watched.clock() - self._told_at.get(step.id, self._watched.clock())

    def _say_of(self, step: StepState, text: str) -> None:
        self._told_at[step.id] = self._watched.clock()
        ids = list(self._watched.state.steps)
        self._say(f"[{ids.index(step.id) + 1}/{len(ids)}] {step.id}: {text}")

    def _say(self, text: str) -> None:
        prefix = "[rehearsal] " if self._watched.state.rehearsal else ""
        encoding = self._stream.encoding or "ascii"
        line = f"{prefix}{text}".encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(f"{line}\n")
        self._stream.flush()


def _cut(line: str) -> str:
    return line if len(line) <= _LINE_WIDTH else f"{line[: _LINE_WIDTH - 3]}..."
