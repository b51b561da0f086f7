"""From a program's bytes to the events of its step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from wan22lora.musubi import log_events as told
from wan22lora.musubi.log_lines import LineSplitter
from wan22lora.plan.model import Step
from wan22lora.run.pipes import Stream
from wan22lora.run.transcript import Transcript

Parse = Callable[[str], told.Event | None]

_MOST_WARNINGS = 50
_LONGEST_WARNING = 400
_SECOND_SHOWING_SECONDS = 1.0
"""What musubi needs at most between the two showings of a step."""
_NOBODYS_BUSINESS = frozenset({"FutureWarning", "DeprecationWarning", "PendingDeprecationWarning"})
"""Python's warnings to programmers; the log has them."""
_TOLD_BY_ITSELF = (told.TrainStep, told.CheckpointSaved, told.TotalSteps)
"""What a program that reports writes into the ledger, too."""


class Emit(Protocol):
    """Writes an event into the ledger and shows it."""

    def __call__(self, event: str, **fields: object) -> None: ...


class Listener:
    """Listens to one attempt of one step."""

    def __init__(self, step: Step, emit: Emit, clock: Callable[[], float], parse: Parse) -> None:
        self.transcript = Transcript()
        self._step = step
        self._emit = emit
        self._parse = parse
        self._splitters: dict[Stream, LineSplitter] = {"out": LineSplitter(), "err": LineSplitter()}
        self._training = _Training(step.id, emit, clock)
        self._warned: set[str] = set()

    @property
    def progress(self) -> int:
        """The last optimizer step seen."""
        return self._training.step

    def take(self, stream: Stream, data: bytes) -> str:
        """Listen to a piece of output; returns its last whole line worth showing, or nothing."""
        return self._hear(self._splitters[stream].feed(data))

    def tick(self) -> None:
        """Time has passed: a step that is shown no second time is told."""
        self._training.tick()

    def finish(self) -> None:
        """The process has ended: unfinished lines count, and the last step is told."""
        for splitter in self._splitters.values():
            self._hear(splitter.close())
        self._training.finish()

    def _hear(self, lines: list[str]) -> str:
        last = ""
        for line in lines:
            self.transcript.add(line)
            event = self._understand(line)
            if not isinstance(event, told.TrainStep):
                last = line
            if event is not None and not (self._step.reports and isinstance(event, _TOLD_BY_ITSELF)):
                self._tell(event)
        return last

    def _understand(self, line: str) -> told.Event | None:
        try:
            return self._parse(line)
        except Exception as error:  # a line that we read wrongly must not cost a night of training
            self._warn(f"a line of the log was not understood ({type(error).__name__}: {error})")
            return None

    def _tell(self, event: told.Event) -> None:
        if isinstance(event, told.TrainStep):
            if self._training.saw(event):
                self._warn(
                    f"the average loss is {event.loss} from step {event.step} on, and musubi-tuner goes on all the "
                    "same: what is saved from here is most likely worthless"
                )
        elif isinstance(event, told.CheckpointSaved):
            self._emit("checkpoint", id=self._step.id, path=event.path)
        elif isinstance(event, told.TotalSteps):
            predicted = self._step.predicted_steps
            if predicted is not None and event.steps != predicted:
                self._warn(f"musubi-tuner counts {event.steps} optimizer steps where {predicted} were predicted")
        elif isinstance(event, told.TextCacheMissing):
            self._warn(f"an item is left out of the training: {event.path} is not there")
        elif isinstance(event, told.NanReplaced):
            self._warn(f"NaN in the cache of {event.item}: musubi-tuner wrote zeros instead")
        elif isinstance(event, (told.WarningLine, told.ErrorLine)) and event.source not in _NOBODYS_BUSINESS:
            self._warn(event.text)

    def _warn(self, text: str) -> None:
        """Each warning once, and not without end."""
        text = text if len(text) <= _LONGEST_WARNING else f"{text[:_LONGEST_WARNING]}..."
        if text in self._warned or len(self._warned) > _MOST_WARNINGS:
            return
        self._warned.add(text)
        if len(self._warned) > _MOST_WARNINGS:
            text = "there are more warnings; the log has them all"
        self._emit("warning", id=self._step.id, text=text)


class _Training:
    """Turns the showings of a progress bar into one event per optimizer step, with its own loss and duration.

    musubi shows a slow step twice, at once with the loss of the step before and then with its own; a quick step may be
    shown only once, with its own. So a step's loss is known at its second showing, or when none comes.
    """

    def __init__(self, step_id: str, emit: Emit, clock: Callable[[], float]) -> None:
        self.step = 0
        self._id = step_id
        self._emit = emit
        self._clock = clock
        self._seen_at: float | None = None
        self._untold: told.TrainStep | None = None
        self._seconds: float | None = None
        self._broken = False

    def saw(self, event: told.TrainStep) -> bool:
        """Take a showing in; True if its loss is the first that is no finite number."""
        if event.step > self.step:
            self._tell()
            now = self._clock()
            if self._seen_at is not None:
                self._seconds = (now - self._seen_at) / (event.step - self.step)
            self._seen_at, self.step, self._untold = now, event.step, event
        elif event.step == self.step and self._untold is not None:
            self._untold = event
            self._tell()
        if self._broken or event.loss is None or math.isfinite(event.loss):
            return False
        self._broken = True
        return True

    def tick(self) -> None:
        if self._seen_at is not None and self._clock() - self._seen_at > _SECOND_SHOWING_SECONDS:
            self._tell()

    def finish(self) -> None:
        self._tell()

    def _tell(self) -> None:
        if self._untold is not None:
            shown, self._untold = self._untold, None
            seconds = None if self._seconds is None else round(self._seconds, 6)
            self._emit("train-step", id=self._id, step=shown.step, total=shown.total, loss=shown.loss, seconds=seconds)
