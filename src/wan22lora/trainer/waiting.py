"""A program that is started before its turn: it imports what a training needs, and waits until it is told to begin.

run/waiting.py starts it while the step before is at work, and tells it by a line on its standard input. Until then it
touches neither the GPU nor a cache nor the ledger, so it can be killed at any time. Where nobody is left who could tell
it, because the run has ended or was killed, it ends too. Standard library only, but for what it imports to wait with.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

from .guard import require_known_musubi
from .stopping import LISTENED

VARIABLE = "WAN22LORA_WAITS"
"""Set for a program that is to wait."""
GO = b"go\n"


def wait_for_turn(speed: str) -> None:
    """Returns at once in a program that is not to wait, and in one that is once its turn has come.

    What cannot be imported is not told now: when its turn has come the program begins once more from its very
    beginning, without waiting, and fails as it would have.
    """
    if not os.environ.pop(VARIABLE, ""):
        return
    for number in LISTENED:
        signal.signal(number, signal.SIG_DFL)
    try:
        _import_what_trains(speed)
        imported = True
    except Exception:
        imported = False
    if _holds_a_gpu() or not _told_to_begin():
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDONLY)  # as in a program that does not wait, also for those that it starts
    os.dup2(nothing, 0)
    os.close(nothing)
    if not imported:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # half an import cannot be repeated


def _import_what_trains(speed: str) -> None:
    require_known_musubi()
    import torch

    # musubi's T5 asks for it in a default argument (wan/modules/t5.py:457 at v0.3.4), and the answer starts CUDA.
    asked, torch.cuda.current_device = torch.cuda.current_device, lambda: 0
    try:
        importlib.import_module(".expert", __package__)
    finally:
        torch.cuda.current_device = asked
    if speed != "reference" and torch.version.cuda is not None:
        importlib.import_module("triton")
        importlib.import_module("torch._inductor.compile_fx")


def _holds_a_gpu() -> bool:
    """Whether an import started CUDA after all: its memory belongs to the step before."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda is not None and bool(cuda.is_initialized())


def _told_to_begin() -> bool:
    """Waits for the line; False at the end of the pipe."""
    line = b""
    while not line.endswith(b"\n"):
        read = os.read(0, len(GO))
        if not read:
            return False
        line += read
    return line == GO
