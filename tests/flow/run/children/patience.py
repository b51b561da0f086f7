"""Waiting for what the runner writes, instead of for a time that a busy machine may not keep."""

import time
from pathlib import Path


def wait_for_note(ledger: Path) -> None:
    """Return once the ledger has a note; after a minute without one, too, so that a test fails instead of hanging."""
    end = time.monotonic() + 60
    while b'"note"' not in ledger.read_bytes() and time.monotonic() < end:
        time.sleep(0.01)
