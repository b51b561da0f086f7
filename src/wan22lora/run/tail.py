"""Lines that another process appends to a file which this one appends to as well."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

_PIECE = 1 << 16
_LONGEST_LINE = 1 << 20
"""A line without end is let go, instead of filling the memory."""


class Tail:
    """Follows a file from its present end. `file` stays the caller's, who appends to it and says where."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._at = os.fstat(file).st_size
        self._own: deque[tuple[int, int]] = deque()
        self._rest = b""

    def skip(self, start: int, end: int) -> None:
        """The bytes from `start` to `end` are the caller's own; what stands before them is never continued after."""
        self._own.append((start, end))

    def lines(self) -> Iterator[bytes]:
        """Whole lines that have come since the last call, read by the piece. Half of one waits for its other half."""
        size = os.fstat(self._file).st_size
        while self._at < size:
            if self._own and self._own[0][0] <= self._at:
                self._at = max(self._at, self._own.popleft()[1])
                self._rest = b""
                continue
            end = min(size, self._own[0][0]) if self._own else size
            piece = os.pread(self._file, min(_PIECE, end - self._at), self._at)
            if not piece:
                break
            self._at += len(piece)
            *whole, self._rest = (self._rest + piece).split(b"\n")
            if len(self._rest) > _LONGEST_LINE:
                self._rest = b""
            yield from filter(None, whole)
