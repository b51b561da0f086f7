"""Ways in which a stand-in can go wrong on request, as the real programs do (tests of everything around them).

`WAN22LORA_FAULT="train-high:oom@12,cache-text:half-cache@3"`: a program (`cache-latents`, `cache-text`, `train`) or the
id of the step in `WAN22LORA_STEP`, the fault, and the step, file or state, counted from 1, at which it happens (default
1). Files and states are counted anew in each process, steps go on. A full disk stays full, or until the file that
`WAN22LORA_REHEARSAL_FULL_DISK` names is no longer there; for that the trainer extension waits as many seconds as its
option says, or `WAN22LORA_REHEARSAL_DISK_PATIENCE`. `WAN22LORA_REHEARSAL_GPU_GIB` is how large a GPU `oom-full` has.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

KINDS = (
    "oom",  # at step or file N: CUDA is out of memory
    "oom-full",  # the same, if the training takes more than the GPU has
    "oom-load",  # the same while the weights are loaded
    "no-compiler",  # the trainer extension cannot compile what is to be fast
    "ram",  # killed while the weights are loaded, as by the kernel when memory runs out
    "nan",  # the loss is NaN from step N on; a cached tensor has NaN
    "hang",  # stops at step or file N without a word
    "crash",  # a traceback at step or file N
    "exit0",  # exits with 0 and has done nothing
    "truncated",  # exits with 0, but the trained file (or cache file N) is cut short
    "half-cache",  # killed while cache file N is being written
    "disk-full",  # the disk is full when file N is written
    "disk-full-state",  # the same for state N of the trainer extension
    "half-state",  # killed while state N is being written
    "kill",  # killed before step N, as by the loss of power or of the machine
    "ignore-sigint",  # Ctrl-C has no effect
    "sigterm-orphan",  # a child in the same process group ignores both signals and keeps the streams open
    "missing-attention",  # the attention package is not installed, noticed at the first step
    "dtype",  # the weights' dtype does not go with --mixed_precision
)
_HANG_SECONDS = 3600.0
_ORPHAN_SECONDS = 120


class OutOfMemoryError(RuntimeError):
    """CUDA's error, under its real name in the traceback."""

    __module__ = "torch"


class SafetensorError(Exception):
    """The error of safetensors' compiled part, under its real name in the traceback."""

    __module__ = "safetensors_rust"


class Faults:
    """The faults of this process: which, and at which step or file."""

    def __init__(self, at: Mapping[str, int]) -> None:
        self._at = at

    @staticmethod
    def from_environment(program: str) -> Faults:
        """Raises SystemExit for a fault that does not exist."""
        names = {program, os.environ.get("WAN22LORA_STEP", program)}
        at: dict[str, int] = {}
        for entry in filter(None, (part.strip() for part in os.environ.get("WAN22LORA_FAULT", "").split(","))):
            target, _, fault = entry.partition(":")
            kind, _, number = fault.partition("@")
            if kind not in KINDS or not (number or "1").isdigit():
                raise SystemExit(
                    f"WAN22LORA_FAULT: {entry!r} is not TARGET:FAULT[@N] with a fault of {', '.join(KINDS)}"
                )
            if target in names:
                at[kind] = int(number or 1)
        return Faults(at)

    def has(self, kind: str) -> bool:
        return kind in self._at

    @staticmethod
    def disk_patience(wanted: float) -> float:
        """Seconds to wait for a disk that is full. Raises ValueError for a variable that is no number."""
        return float(os.environ.get("WAN22LORA_REHEARSAL_DISK_PATIENCE", wanted))

    def on_launch(self) -> None:
        """In accelerate's launcher, whose child inherits the ignored signal."""
        if self.has("ignore-sigint"):
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def on_start(self) -> None:
        self.on_launch()
        if self.has("sigterm-orphan"):
            _start_orphan()
        if self.has("exit0"):
            raise SystemExit(0)

    def on_load(self) -> None:
        if self.has("ram"):
            _die_at_once()
        if self.has("oom-load"):
            _run_out_of_memory("100.00 MiB")

    def on_step(self, number: int) -> None:
        """Before the work of step (or file) `number`."""
        if self._is_at("kill", number):
            _die_at_once()
        if self._is_at("hang", number):
            hang()
        if self._is_at("oom", number):
            _run_out_of_memory("1.27 GiB")
        if self._is_at("crash", number):
            raise RuntimeError(f"injected fault: crash at {number}")

    def on_full_gpu(self, number: int, peak: int) -> None:
        """Before step `number` of a training that takes `peak` bytes of the GPU."""
        if self._is_at("oom-full", number) and peak > float(os.environ["WAN22LORA_REHEARSAL_GPU_GIB"]) * 2**30:
            _run_out_of_memory("1.27 GiB")

    def on_first_forward(self) -> None:
        if self.has("missing-attention"):
            raise NameError("name 'xops' is not defined")

    def loss(self, number: int, value: float) -> float:
        return math.nan if self.has("nan") and number >= self._at["nan"] else value

    def has_nan(self, number: int) -> bool:
        return self._is_at("nan", number)

    def after_cache_file(self, path: Path, number: int) -> None:
        if self._is_at("half-cache", number):
            _cut(path)
            _die_at_once()
        if self._is_at("truncated", number):
            _cut(path)
        self._fill_disk(path, number)

    def after_checkpoint(self, path: Path, number: int, *, final: bool) -> None:
        if final and self.has("truncated"):
            _cut(path)
        self._fill_disk(path, number)

    def before_state(self, file: Path, data: bytes, number: int) -> None:
        """Before `data` are written to the file of state `number`. Raises OSError on a full disk."""
        if self._is_at("half-state", number):
            file.write_bytes(data[: len(data) // 2])
            _die_at_once()
        if self._is_at("disk-full-state", number) and _disk_stays_full():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _fill_disk(self, path: Path, number: int) -> None:
        if self._is_at("disk-full", number) and _disk_stays_full():
            _cut(path)
            cause = 'Os { code: 28, kind: StorageFull, message: "No space left on device" }'
            raise SafetensorError(f"Error while serializing: IoError({cause})")

    def _is_at(self, kind: str, number: int) -> bool:
        return self._at.get(kind) == number


def hang() -> None:
    """Stop without a word; for an hour, so that a test that forgets it leaves nothing behind for ever."""
    time.sleep(_HANG_SECONDS)


def _cut(path: Path) -> None:
    """Cut a file short as a real one would be: the header is small and survives, the tensors do not."""
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    os.truncate(path, (start + path.stat().st_size) // 2)


def _disk_stays_full() -> bool:
    sign = os.environ.get("WAN22LORA_REHEARSAL_FULL_DISK")
    return sign is None or Path(sign).exists()


def _die_at_once() -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def _run_out_of_memory(wanted: str) -> None:
    raise OutOfMemoryError(
        f"CUDA out of memory. Tried to allocate {wanted}. GPU 0 has a total capacity of 23.65 GiB of which 58.69 MiB is"
        " free. Including non-PyTorch memory, this process has 23.58 GiB memory in use. Of the allocated memory"
        " 22.91 GiB is allocated by PyTorch, and 221.16 MiB is reserved by PyTorch but unallocated."
    )


def _start_orphan() -> None:
    """The child ignores the signals from its first instruction: what is ignored here stays so across exec."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({_ORPHAN_SECONDS})"])
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)
    print(f"REHEARSAL: child {child.pid} outlives this process", flush=True)
