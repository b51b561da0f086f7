"""Captions by a model: one question for each picture or clip, several at once, answers kept as they arrive."""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wan22lora.captions.answer import cleaned, problem_with
from wan22lora.captions.editing import with_opening
from wan22lora.captions.endpoint import Endpoint, Reply, Trouble
from wan22lora.captions.instruction import CaptionKind, for_one
from wan22lora.captions.kept import keep, kept_in, key_of
from wan22lora.captions.pace import Attempt, Pace
from wan22lora.captions.place import Medium, Place
from wan22lora.captions.seen import FRAMES, data_urls
from wan22lora.captions.under_way import UnderWay
from wan22lora.dataset.pictures import UnreadableError
from wan22lora.errors import Finding, MachineError
from wan22lora.files import written

_MOST_TROUBLES = 3
"""In a row; then the endpoint is at fault, not a picture."""
_LOOKED_AT = 2
"""Pictures or clips that are decoded at the same time, whatever is asked at once: large ones take memory."""


@dataclass(frozen=True)
class Wish:
    """What is asked of the model."""

    kind: CaptionKind
    trigger: str | None = None
    style_tag: str | None = None

    def instruction(self, medium: Medium) -> str:
        frames = FRAMES if medium.kind == "videos" else None
        return for_one(self.kind, self.trigger, self.style_tag, frames=frames)

    def completed(self, caption: str) -> str:
        """With the opening words, which models forget now and then."""
        if not (self.trigger or self.style_tag):
            return caption
        return with_opening(self.trigger, self.style_tag)(caption)


@dataclass(frozen=True)
class Question:
    """A picture or clip to be captioned; `key` names its answer among those that are kept."""

    medium: Medium
    key: str


@dataclass
class Outcome:
    """What has been answered so far, and what could not be."""

    captions: dict[Path, str] = field(default_factory=dict)
    """By caption file."""
    findings: list[Finding] = field(default_factory=list)
    tokens_in: int = 0
    tokens_out: int = 0


class Reporter(Protocol):
    """Hears how the writing goes."""

    def answered(self, name: str, caption: str) -> None:
        """One more caption."""

    def failed(self, name: str, why: str) -> None:
        """One that there will be no caption of for now."""

    def pausing(self, seconds: float, at_once: int) -> None:
        """The endpoint wants fewer questions: none for a while, then so many at once."""


def questions(place: Place, media: Sequence[Medium], model: str, wish: Wish) -> tuple[list[Question], Outcome]:
    """What is still to be asked, and what earlier runs of the same command were answered already."""
    kept = kept_in(place.folders)
    asked, outcome = [], Outcome()
    for medium in media:
        try:
            key = key_of(medium, model, wish.instruction(medium))
        except OSError as problem:
            outcome.findings.append(_unreadable(place, medium, problem.strerror or str(problem)))
            continue
        if key in kept:
            outcome.captions[medium.caption] = kept[key]
        else:
            asked.append(Question(medium, key))
    return asked, outcome


class Asking:
    """The questions of one command. All but the asking itself happens in the thread that calls `go`."""

    def __init__(
        self,
        place: Place,
        asked: Sequence[Question],
        endpoint: Endpoint,
        wish: Wish,
        outcome: Outcome,
        reporter: Reporter,
        pace: Pace,
    ) -> None:
        self._place, self._asked, self._endpoint, self._wish = place, asked, endpoint, wish
        self._outcome, self._reporter, self._pace = outcome, reporter, pace
        self._waiting = deque(Attempt(order) for order in range(len(asked)))
        self._under_way: UnderWay[Attempt, Reply] = UnderWay(self._ask)
        self._looking = threading.BoundedSemaphore(_LOOKED_AT)
        self._failed: dict[int, Finding] = {}
        self._troubles, self._last_answer = 0, 0.0
        self._stopped: MachineError | None = None

    def go(self) -> None:
        """Asks several at once, as the pace allows, and adds to the outcome as the answers arrive.

        Raises MachineError where no further answer is to be hoped for; what is under way then is waited for. On
        KeyboardInterrupt nothing is waited for. What has arrived is kept either way.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of very large pictures
                while self._under_way.count or (self._waiting and self._stopped is None):
                    self._start()
                    self._under_way.wait(self._until_next())
                    self._take_what_arrived()
        except KeyboardInterrupt:
            self._take_what_arrived()
            raise
        finally:
            self._outcome.findings += [finding for _, finding in sorted(self._failed.items())]
        if self._stopped is not None:
            raise self._stopped

    def _start(self) -> None:
        now = time.monotonic()
        while self._stopped is None and self._pace.may_start(self._under_way.count, now):
            attempt = next((each for each in self._waiting if each.not_before <= now), None)
            if attempt is None:
                return
            self._waiting.remove(attempt)
            attempt.started = now
            attempt.begun = attempt.begun or now
            self._under_way.start(attempt)

    def _until_next(self) -> float | None:
        """Seconds until another question may be asked; None where an answer has to come first."""
        if self._stopped is not None or not self._waiting or self._under_way.count >= self._pace.limit:
            return None
        soonest = max(self._pace.paused_until, min(each.not_before for each in self._waiting))
        return max(0.0, soonest - time.monotonic())

    def _ask(self, attempt: Attempt) -> Reply:
        medium = self._asked[attempt.order].medium
        with self._looking:
            pictures = data_urls(medium)
        return self._endpoint.ask(self._wish.instruction(medium), pictures)

    def _take_what_arrived(self) -> None:
        while (ended := self._under_way.first_ended()) is not None:
            self._take(*ended)
            self._under_way.take_off()

    def _take(self, attempt: Attempt, ended: Reply | BaseException) -> None:
        if isinstance(ended, UnreadableError):
            medium = self._asked[attempt.order].medium
            self._fail(attempt, _unreadable(self._place, medium, str(ended)), f"cannot be read ({ended})")
        elif isinstance(ended, Trouble):
            self._take_trouble(attempt, ended)
        elif isinstance(ended, BaseException):
            raise ended
        else:
            self._take_answer(attempt, ended)

    def _take_answer(self, attempt: Attempt, reply: Reply) -> None:
        self._pace.answered()
        self._troubles, self._last_answer = 0, time.monotonic()
        self._outcome.tokens_in += reply.tokens_in
        self._outcome.tokens_out += reply.tokens_out
        question, name = self._asked[attempt.order], self._name(attempt)
        caption = cleaned(reply.text)
        wrong = problem_with(caption)
        if wrong:
            shown = f": {_beginning(caption)}" if caption else ""
            finding = Finding(name, f"the answer {wrong}{shown}", _ANOTHER)
            self._fail(attempt, finding, f"the answer {wrong}")
            return
        caption = self._wish.completed(caption)
        with written(question.medium.caption.parent):
            keep(question.medium.caption.parent, question.key, caption)
        self._outcome.captions[question.medium.caption] = caption
        self._reporter.answered(name, caption)

    def _take_trouble(self, attempt: Attempt, trouble: Trouble) -> None:
        now = time.monotonic()
        paused = self._pace.paused_until
        if self._stopped is None and self._pace.failed(attempt, trouble, now):
            self._waiting.appendleft(attempt)
            if self._pace.paused_until > max(paused, now):
                self._reporter.pausing(self._pace.paused_until - now, self._pace.limit)
            return
        tried = f", tried {attempt.tries} times" if attempt.tries > 1 else ""
        finding = Finding(self._name(attempt), f"{trouble.text}{tried}", trouble.fix)
        # Several are under way at once, and the one that fails takes longest: only those count since whose beginning
        # nothing was answered.
        self._troubles += attempt.begun >= self._last_answer
        alone = len(self._asked) == 1
        if self._stopped is None and (trouble.final or self._troubles == _MOST_TROUBLES or alone):
            self._stopped = _stopped(finding, self._troubles)
        else:
            self._fail(attempt, finding, f"{trouble.text}{tried}")

    def _fail(self, attempt: Attempt, finding: Finding, why: str) -> None:
        self._failed[attempt.order] = finding
        self._reporter.failed(self._name(attempt), why)

    def _name(self, attempt: Attempt) -> str:
        return self._place.name_of(self._asked[attempt.order].medium.path)


_ANOTHER = "The same command asks again; another model may answer, or write this caption yourself."


def _stopped(finding: Finding, troubles: int) -> MachineError:
    row = f" ({troubles} in a row)" if troubles > 1 else ""
    kept = "Answers that arrived are kept; the same command goes on with the others."
    return MachineError(f"The endpoint does not answer as it should{row}. {kept}", findings=[finding])


def _unreadable(place: Place, medium: Medium, why: str) -> Finding:
    return Finding(place.name_of(medium.path), f"cannot be read ({why})", "Replace or remove it.")


def _beginning(text: str) -> str:
    flat = " ".join(text.split())
    return f"`{flat[:60]}…`" if len(flat) > 60 else f"`{flat}`"
