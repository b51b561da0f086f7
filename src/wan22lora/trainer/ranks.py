"""One training by several processes, each with a GPU: the first one starts the others, and none outlives it.

All of them are in one process group and get its signals; what accelerate's launcher would set, it finds in variables.
Standard library only.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from .events import Events

RANK = "WAN22LORA_RANK"
_LOOK_EVERY = 0.2
_FAILED_SECONDS = 5.0
"""A process that failed may be followed by the first one, which then tells why by itself."""
_STOPPED_SECONDS = 60.0
"""Processes that were asked to stop end at about the same time."""
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def rank() -> int:
    """Which of the training's processes this one is; 0 for the first and for a single one."""
    return int(os.environ.get(RANK, "0"))


def with_seed(argv: Sequence[str]) -> list[str]:
    """The options with a seed for all processes, where none is given: each would draw its own."""
    given = any(option == "--seed" or option.startswith("--seed=") for option in argv)
    return list(argv) if given else [*argv, "--seed", str(random.randrange(2**32))]


class Others:
    """The other processes of a training, as the first one sees them."""

    def __init__(self, count: int, argv: Sequence[str], events: Events) -> None:
        self._events = events
        self._ending = threading.Event()
        common = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
        }
        program = str(Path(__file__).resolve().parent)
        self._processes = []
        for number in range(1, count):
            own = {RANK: str(number), "RANK": str(number), "LOCAL_RANK": str(number)}
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, program, *argv],
                    env={**os.environ, **common, **own},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # they say what the first one says
                )
            )
        os.environ.update(common, RANK="0", LOCAL_RANK="0")
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()

    def end(self, *, at_once: bool) -> None:
        """Waits for them, for as long as a stop may take at most, or ends them."""
        self._ending.set()
        deadline = time.monotonic() + (0.0 if at_once else _STOPPED_SECONDS)
        for process in self._processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _watch(self) -> None:
        """Ends this process when another one is lost: it would wait for it without end."""
        while not self._ending.wait(_LOOK_EVERY):
            for number, process in enumerate(self._processes, 1):
                code = process.poll()
                if code is None or code == 0:
                    continue
                stopped = code in _STOPPED
                if self._ending.wait(_STOPPED_SECONDS if stopped else _FAILED_SECONDS):
                    return
                for each in self._processes:
                    each.kill()
                self._tell(number, code)
                os._exit(code if stopped else 1)

    def told_of_a_loss(self, error: Exception) -> bool:
        """Whether an error of this process came of the loss of another, which is told then."""
        deadline = time.monotonic() + _FAILED_SECONDS
        while is_loss_of_another(error) and time.monotonic() < deadline:
            for number, process in enumerate(self._processes, 1):
                code = process.poll()
                if code is not None and code != 0:
                    self._ending.set()
                    self._tell(number, code)
                    return True
            time.sleep(_LOOK_EVERY)
        return False

    def _tell(self, number: int, code: int) -> None:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        text = f"process {number + 1} of {len(self._processes) + 1} of this training {how}"
        if code < 0:  # others have told why
            self._events.emit("training-failed", step=self._events.optimizer_step, reason="error", text=text, fix="")
        print(text, file=sys.stderr, flush=True)


def is_loss_of_another(error: Exception) -> bool:
    """Whether an error says that the exchange with another process broke off."""
    return any(word in str(error) for word in ("gloo", "NCCL", "Connection closed by peer"))


def end_with_the_first() -> None:
    """In another process than the first: ends it when the first one is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=watch, name="first", daemon=True).start()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
