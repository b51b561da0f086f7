"""How fast an endpoint is asked: how many questions at once, when one is asked again, and when all of them wait.

Pure decisions on times that the caller gives (seconds of a monotonic clock), so that a test needs no clock.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from wan22lora.captions.endpoint import Trouble

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0
"""Seconds before one question is asked again, doubled with each try: what the openai client itself waits."""
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
"""Seconds that all questions wait where an endpoint says that they are too many, but not for how long; doubled until
it answers. Paid endpoints count by the minute.
"""


@dataclass
class Attempt:
    """A question on its way, through all its tries."""

    order: int
    """Its place among all questions."""
    begun: float = 0.0
    """When it was asked first."""
    started: float = 0.0
    """When it was asked last."""
    tries: int = 0
    """Those that count."""
    not_before: float = 0.0


@dataclass
class Pace:
    """One alone until there is an answer: a wrong key is refused once, and a server loads its model first. Then as many
    as may be; fewer after a refusal or a timeout, one more after as many answers as are asked at once.
    """

    at_once: int
    """The most."""
    retries: int
    """Of one question."""
    limit: int = field(init=False, default=1)
    """How many may be under way now."""
    paused_until: float = field(init=False, default=0.0)
    _slowed: float = field(init=False, default=-1.0)
    _pauses: int = field(init=False, default=0)
    _answers: int = field(init=False, default=0)
    _begun: bool = field(init=False, default=False)

    def may_start(self, under_way: int, now: float) -> bool:
        return under_way < self.limit and now >= self.paused_until

    def answered(self) -> None:
        self._pauses = 0
        self._answers += 1
        if not self._begun:
            self._begun, self.limit, self._answers = True, self.at_once, 0
        elif self._answers >= self.limit < self.at_once:
            self.limit, self._answers = self.limit + 1, 0

    def failed(self, attempt: Attempt, trouble: Trouble, now: float) -> bool:
        """True where the question is to be asked again, at `attempt.not_before`."""
        # What was under way already when all began to wait tells nothing new.
        known = attempt.started <= self._slowed
        if not (known and trouble.crowd == "refused"):
            attempt.tries += 1
        if trouble.final or not trouble.passing or attempt.tries > self.retries:
            return False
        if trouble.crowd == "refused":
            if not known:
                self._pause(trouble.wait, now)
            attempt.not_before = self.paused_until
        else:
            attempt.not_before = now + (trouble.wait or self._delay(attempt.tries))
        if trouble.crowd and not known:
            self.limit, self._answers, self._slowed = max(1, self.limit // 2), 0, now
        return True

    def _pause(self, asked_for: float | None, now: float) -> None:
        wait = asked_for or min(_FIRST_PAUSE * 2**self._pauses, _LONGEST_PAUSE)
        self._pauses += 1
        self.paused_until = max(self.paused_until, now + wait)

    @staticmethod
    def _delay(tries: int) -> float:
        return min(_FIRST_DELAY * 2.0 ** (tries - 1), _LONGEST_DELAY) * random.uniform(0.75, 1.0)
