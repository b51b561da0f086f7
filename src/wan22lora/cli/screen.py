"""Text that fits the terminal it is read on."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from contextlib import suppress

from wan22lora.readable import readable


def say(text: str, *, err: bool = False) -> None:
    """Print a line about a run. A screen that is gone, or a full disk behind it, does not end the run."""
    import typer

    with suppress(OSError):
        typer.echo(text, err=err)


def fitted(text: str) -> str:
    """Wraps between words at the terminal's width, under the indentation of each line; files and pipes get it as it is,
    but for what a name of a file would have the screen do.

    Words are never cut, so that paths and commands can be copied.
    """
    text = readable(text)
    if not sys.stderr.isatty():
        return text
    columns = max(40, shutil.get_terminal_size().columns)
    return "\n".join(_wrapped(line, columns) for line in text.splitlines())


def width() -> int:
    """Columns for a report: the terminal's, within what reads well; 80 for files and pipes."""
    return max(40, min(100, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else 80


def coloured(text: str, colour: str, *, bold: bool) -> str:
    """Plain where nobody sees colours, or wants none (NO_COLOR)."""
    import typer

    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return typer.style(text, fg=colour, bold=bold)


def _wrapped(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    hanging = indent + ("  " if line.lstrip().startswith("→") else "")
    return textwrap.fill(
        line.strip(),
        width,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
