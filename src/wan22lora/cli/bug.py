"""A bug of this program: the traceback goes to a file, one line to the screen."""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path

from wan22lora import __version__


def report(error: Exception) -> str:
    """Writes the traceback aside and returns the line to show."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    with tempfile.NamedTemporaryFile(
        "w", prefix="wan22lora-bug-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"wan22lora {__version__}, Python {sys.version}\n\n{text}")
    return f"This is a bug in wan22lora ({type(error).__name__}: {error}). Please report it with {Path(file.name)}"
