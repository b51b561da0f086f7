"""Which view of a run fits where its output goes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from wan22lora.run.display import Display
from wan22lora.run.plain import PlainDisplay


def display_for(folder: Path, stream: TextIO | None = None) -> Display:
    """The live view where `stream` (standard output) is a terminal able to show it, else plain lines."""
    stream = stream if stream is not None else sys.stdout
    able = os.environ.get("TERM", "dumb") not in ("dumb", "unknown") and "utf" in stream.encoding.lower()
    if stream.isatty() and able:
        from wan22lora.run.live import LiveDisplay  # rich takes a while to import

        return LiveDisplay(folder, stream)
    return PlainDisplay(folder, stream)
