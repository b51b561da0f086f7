"""The events of a training, appended to the run's ledger by the process that knows them.

One line of JSON for each, written with a single system call on a file opened for appending, so that lines of two
processes never mix. `docs/runs.md` lists the events. Standard library only.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Events:
    """Appends events of one step of the run, and remembers the optimizer step that was told last."""

    def __init__(self, ledger: Path, step_id: str, *, quiet: bool = False) -> None:
        self._step_id, self._quiet = step_id, quiet
        self.optimizer_step = 0
        self._file = os.open(ledger, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)

    def emit(self, event: str, **fields: object) -> None:
        """Write one event. A disk that refuses it must not end the training, so nothing is raised.

        A quiet one tells only why it failed.
        """
        step = fields.get("step")
        if isinstance(step, int):
            self.optimizer_step = step
        if self._quiet and event != "training-failed":
            return
        record = {"t": time.time(), "event": event, "id": self._step_id, **fields}
        line = json.dumps(_plain(record), separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
        try:
            written = os.write(self._file, line if self._ends_whole() else b"\n" + line)
            if written < len(line):
                os.write(self._file, b"\n")
        except OSError:
            return

    def _ends_whole(self) -> bool:
        """False after a line that a power cut or a full disk tore; it would swallow the next one."""
        size = os.fstat(self._file).st_size
        return size == 0 or os.pread(self._file, 1, size - 1) == b"\n"


def _plain(value: Any) -> Any:
    """What JSON can hold: paths as text, numbers that are none as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf"
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
