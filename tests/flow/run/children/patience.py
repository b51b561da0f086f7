"""Waiting for what the runner writes, instead of for a time that a busy machine may not keep."""

import time
from collections.abc import Callable
from pathlib import Path


def wait_for_note(ledger: Path) -> None:
    """Return once the ledger has a note; after a minute without one, too, so that a test fails instead of hanging."""
    _wait_until(lambda: b'"note"' in ledger.read_bytes())


def wait_for_file(path: Path) -> None:
    """Return once the file is there; after a minute, too."""
    _wait_until(path.exists)


def _wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened() and time.monotonic() < end:
        time.sleep(0.01)
