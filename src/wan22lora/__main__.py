"""The console script, and `python -m wan22lora`."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable

_ALLOCATIONS = 50_000
"""Between two searches for garbage. By Python's own 700 a fifth of a plan of 10,000 pictures went into searches that
found nothing, since nearly all that is made of pictures is kept."""


def main() -> None:
    _open_streams()
    run = _imported()
    gc.set_threshold(_ALLOCATIONS)
    code = run(sys.argv[1:])
    _flush_streams()
    sys.exit(code)


def _imported() -> Callable[[list[str]], int]:
    """The program. Ctrl-C while Python still reads it ends the process as it ends others, without Python's words."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from wan22lora.cli.app import run

    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, handler)
    return run


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
