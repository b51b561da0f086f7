"""The history of a run folder: events.jsonl, one JSON object per line, only ever appended to.

Every line has `t` (unix seconds) and `event`; `id` is a step's. What the runner writes, with the further fields:

- run-started: name, rehearsal, steps (ids in order), version
- step-skipped: id, why
- step-started: id, argv, cwd, why, log, total, pid, pgid, birth (run/alive.py), host
- note: id, text
- adapted: id, text; between two runs of one command: what the next does otherwise so that the step can be done
- warning: id, text
- stopping: id, text; a stop was asked for
- step-ended: id, outcome (done, failed, outputs-wrong, interrupted), exit_code, seconds
- run-ended: outcome (done, failed, interrupted)

and, while musubi's own program trains, as its output tells them:

- train-step: id, step, total, loss (an average), seconds (since the optimizer step before; null for the first)
- checkpoint: id, path; it is about to be written

The trainer extension appends its own lines to the same file (trainer/events.py), memory in bytes:

- weights-loaded: id, seconds, ram_peak, gpu_peak, gpu_allocated
- training-begun: id, step, total, epoch, epochs, state (path of the one it goes on from, or null)
- train-step: as above with the step's own loss, and epoch, lr, samples, gpu_peak, gpu_reserved; losses (diffusion,
  preservation) where something is preserved, skipped (true) where nothing was learned
- epoch: id, epoch, of, step
- checkpoint: id, path, sha256, step, epoch, ema, ema_sha256; it stands
- samples: id, step, paths
- state: id, path, step, bytes, seconds
- validation: id, step, loss, bins (low, high, loss each), seconds
- paused: id, text; unpaused: id, what
- warning: id, text
- training-stopped: id, step and state (of the newest state, or null), signal
- training-failed: id, step, reason (nan, out-of-memory, disk-full, wrong-musubi, error), text, fix
- training-ended: id, step, seconds

Numbers that JSON has none for are the strings `nan` and `inf`. Readers skip what they do not know.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeGuard

from pydantic_core import from_json

from wan22lora.errors import RunFolderError
from wan22lora.run.tail import Tail

Event = Mapping[str, Any]

_MILESTONES = frozenset({"step-ended", "run-ended"})
"""Events that must survive a power cut; waiting for the disk after each of the others would cost more than it saves."""
_BLOCK = 1 << 15
"""Characters read at once, about a hundred events."""


class Ledger:
    """Appends events, and hears those that other processes append. Raises OSError where the disk refuses a line."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._tail = Tail(self._file)

    def append(self, event: str, **fields: object) -> Event:
        """Write one line with a single system call and return it as an event."""
        record = {"t": self._now(), "event": event, **{key: _plain(value) for key, value in fields.items()}}
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
        # A line that a power cut, a full disk or the death of its writer tore would swallow this one.
        data = b"\n" + line if _ends_torn(self._file) else line
        written = os.write(self._file, data)
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        self._tail.skip(end - written, end)
        if written < len(data):
            raise OSError(28, os.strerror(28))
        if event in _MILESTONES:
            os.fsync(self._file)
        return record

    def news(self) -> Iterator[Event]:
        """What other processes have appended since the last call. Torn and foreign lines are left out."""
        return (event for line in self._tail.lines() if (event := _event(line)) is not None)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_events(path: Path) -> Iterator[Event]:
    """The events of a ledger in order, none for a missing file. Torn and foreign lines are left out.

    Raises RunFolderError for a file that cannot be read.
    """
    try:
        file = path.open(encoding="utf-8", errors="replace", newline="\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be read: {error.strerror}.", fix=f"it holds the run's history: move {path} away, or mend it"
        ) from None
    with file:
        while lines := file.readlines(_BLOCK):
            yield from filter(_is_event, _records(lines))


def _records(lines: list[str]) -> list[object]:
    """What the lines hold. They are parsed together by pydantic's parser, which takes half as long as Python's; where
    any of them is torn, or it refuses one, one by one by Python's.
    """
    try:
        together = from_json(f"[{','.join(lines)}]")
    except ValueError:
        together = None
    if isinstance(together, list) and len(together) == len(lines):
        return together
    return [_record(line) for line in lines]


def _event(line: bytes) -> Event | None:
    record = _record(line)
    return record if _is_event(record) else None


def _record(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_event(record: object) -> TypeGuard[Event]:
    return isinstance(record, dict) and isinstance(record.get("event"), str)


def _ends_torn(file: int) -> bool:
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf"
    return str(value) if isinstance(value, Path) else value
