"""The history of a run folder: events.jsonl, one JSON object per line, only ever appended to.

Every line has `t` (unix seconds) and `event`. What the runner writes, with the further fields:

- run-started: name, rehearsal, steps (ids in order), version
- step-skipped: id, why
- step-started: id, argv, cwd, why, log, total, pid, pgid, birth (run/alive.py), host
- train-step: id, step, total, loss, seconds (since the optimizer step before; null for the first)
- checkpoint: id, path; it is about to be written
- note: id, text
- warning: id, text
- step-ended: id, outcome (done, failed, outputs-wrong, interrupted), exit_code, seconds
- stopping: id, text; a stop was asked for
- run-ended: outcome (done, failed, interrupted)

Losses that JSON has no number for are the strings `nan` and `inf`. Readers skip what they do not know.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

Event = Mapping[str, Any]

_MILESTONES = frozenset({"step-ended", "run-ended"})
"""Events that must survive a power cut; waiting for the disk after each of the others would cost more than it saves."""


class Ledger:
    """Appends events. Raises OSError where the disk refuses a line."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._torn = _ends_torn(self._file)

    def append(self, event: str, **fields: object) -> Event:
        """Write one line with a single system call and return it as an event."""
        record = {"t": self._now(), "event": event, **{key: _plain(value) for key, value in fields.items()}}
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
        # A line that a power cut or a full disk tore would swallow this one.
        data = b"\n" + line if self._torn else line
        written = os.write(self._file, data)
        self._torn = written < len(data)
        if self._torn:
            raise OSError(28, os.strerror(28))
        if event in _MILESTONES:
            os.fsync(self._file)
        return record

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_events(path: Path) -> Iterator[Event]:
    """The events of a ledger in order, none for a missing file. Torn and foreign lines are left out."""
    try:
        file = path.open(encoding="utf-8", errors="replace", newline="\n")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and isinstance(record.get("event"), str):
                yield record


def _ends_torn(file: int) -> bool:
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf"
    return str(value) if isinstance(value, Path) else value
