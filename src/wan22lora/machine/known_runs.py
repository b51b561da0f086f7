"""Which run folders there are on this machine, so that what one has encoded is found by another.

One small file for each, beside machine.yaml: no two runs write the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from wan22lora.files import write_text


def note_run(known: Path, run: Path) -> None:
    """Remembers a run folder. A disk that refuses only costs encoding again, some day."""
    file = known / hashlib.sha256(str(run).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    if not file.exists():
        with suppress(OSError, UnicodeEncodeError):
            known.mkdir(parents=True, exist_ok=True)
            write_text(file, str(run))


def known_runs(known: Path) -> Iterator[Path]:
    """The run folders that were noted and are still there."""
    with suppress(OSError):
        for file in sorted(known.iterdir()):
            with suppress(OSError, ValueError):
                if (run := Path(file.read_text(encoding="utf-8"))).is_dir():
                    yield run
