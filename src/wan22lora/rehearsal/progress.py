"""tqdm's progress line as it arrives in a pipe: one line rewritten with a carriage return, no newline before the end.

Format and habits are those of tqdm 4.67.1, which musubi-tuner uses: ten cells for the bar, `?` for an unknown
rate, blanks over the rest of a longer line, a refresh for every postfix and at most ten a second for the count.
"""

from __future__ import annotations

import atexit
import sys
import time

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_DIGITS = " 123456789#"
_CELLS = 10
_SECONDS_BETWEEN_COUNTS = 0.1


class Progress:
    """A progress line on stderr; `total` None shows a bare count, as caching does.

    After an exception it is closed late, as tqdm's is: the last line of stderr is not the error but the progress.
    """

    def __init__(self, total: int | None, label: str = "") -> None:
        self._total = total
        self._label = f"{label}: " if label else ""
        self._postfix = ""
        self._width = 0
        self._closed = False
        atexit.register(self.close)
        self.reset()

    def reset(self) -> None:
        """Start counting and timing again, keeping the line."""
        self._count = 0
        self._started = self._counted_at = time.perf_counter()
        self._show()

    def update(self) -> None:
        self._count += 1
        now = time.perf_counter()
        if now - self._counted_at >= _SECONDS_BETWEEN_COUNTS:
            self._counted_at = now
            self._show()

    def set_postfix(self, **values: float) -> None:
        self._postfix = "".join(f", {name}={short_number(value)}" for name, value in values.items())
        self._show()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._show()
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _show(self) -> None:
        text = self._line(time.perf_counter() - self._started)
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

    def _line(self, seconds: float) -> str:
        rate = self._count / seconds if self._count and seconds > 0 else 0.0
        if self._total is None:
            return f"{self._label}{self._count}it [{clock(seconds)}, {speed(rate)}{self._postfix}]"
        left = clock((self._total - self._count) / rate) if rate else "?"
        share = self._count / self._total if self._total else 1.0
        counts = f"{self._count}/{self._total} [{clock(seconds)}<{left}, {speed(rate)}{self._postfix}]"
        return f"{self._label}{share * 100:3.0f}%|{bar(share, sys.stderr.encoding or '')}| {counts}"


def bar(share: float, encoding: str) -> str:
    """Ten cells, the last one partly filled; digits where the encoding may lack blocks."""
    steps = _EIGHTHS if encoding.lower().startswith("utf") else _DIGITS
    per_cell = len(steps) - 1
    full, part = divmod(int(share * _CELLS * per_cell), per_cell)
    if full >= _CELLS:
        return steps[-1] * _CELLS
    return (steps[-1] * full + steps[part]).ljust(_CELLS, steps[0])


def clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:d}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


def speed(rate: float) -> str:
    """Iterations per second, or seconds per iteration where that is more than one."""
    if not rate:
        return "?it/s"
    return f"{1 / rate:5.2f}s/it" if rate < 1 else f"{rate:5.2f}it/s"


def short_number(value: float) -> str:
    """Three significant digits, or fewer characters if Python writes fewer."""
    short = f"{value:.3g}".replace("e+0", "e+").replace("e-0", "e-")
    return min(str(value), short, key=len)
