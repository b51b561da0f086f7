"""How often and how long a fetch tries again."""

from __future__ import annotations

from collections.abc import Callable

from wan22lora.models.troubles import Trouble

_TRIES = 8
"""In a row without a single new byte."""
_FIRST_TRIES = 4
"""While the hub has not answered even once: then it is more likely the network's fault than a passing one."""
_LONGEST_PAUSE = 60.0
_LONGEST_WAIT = 600.0
"""Seconds; who is asked to wait longer hears of it and may come back later."""


class Patience:
    """Counts the tries since the last progress. Pauses double from 1 s to 60 s unless the hub says how long to wait."""

    def __init__(self, sleep: Callable[[float], None], say: Callable[[str], None], *, in_touch: bool = True) -> None:
        self._sleep, self._say = sleep, say
        self._allowed = _TRIES if in_touch else _FIRST_TRIES
        self._tries = 0
        self._furthest = 0

    def reached(self, length: int) -> None:
        """The hub answers, and so much of the file is here.

        Bytes that arrive once more, after a start from the beginning, count nothing.
        """
        self._allowed = _TRIES
        if length > self._furthest:
            self._furthest, self._tries = length, 0

    def after(self, trouble: Trouble) -> None:
        """Waits for the next try; raises the trouble when there is none."""
        self._tries += 1
        if not trouble.again or self._tries >= self._allowed:
            raise trouble
        pause = min(_LONGEST_PAUSE, 2.0 ** (self._tries - 1)) if trouble.wait is None else trouble.wait
        if pause > _LONGEST_WAIT:
            raise Trouble(f"{trouble.text} and to wait {pause / 60:,.0f} minutes", fix=trouble.fix)
        self._say(f"  {trouble.text}; again in {pause:,.0f} s")
        self._sleep(pause)
