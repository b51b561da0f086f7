"""The console script, and `python -m wan22lora`."""

from __future__ import annotations

import gc
import os
import sys

from wan22lora.cli.app import run

_ALLOCATIONS = 50_000
"""Between two searches for garbage. By Python's own 700 a fifth of a plan of 10,000 pictures went into searches that
found nothing, since nearly all that is made of pictures is kept."""


def main() -> None:
    _open_streams()
    gc.set_threshold(_ALLOCATIONS)
    code = run(sys.argv[1:])
    _flush_streams()
    sys.exit(code)


def _open_streams() -> None:
    """Gives a process that was started without the usual three streams empty ones.

    Otherwise a file of the run would get one of their numbers, and whatever is printed there would end up in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _flush_streams() -> None:
    """A reader that is gone (`| head`) must not change the exit code when Python ends."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


if __name__ == "__main__":
    main()
