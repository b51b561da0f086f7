"""Loads an expert tensor by tensor in the type that it trains in, and tells what that took.

Stock musubi reads the whole file first and casts it then, with both copies alive: 40.4 GiB for a 28 GB file that trains
in fp8, on the GPU, or in RAM when blocks are swapped.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from musubi_tuner.utils import lora_utils
from musubi_tuner.utils.safetensors_utils import MemoryEfficientSafeOpen


@dataclass(frozen=True)
class Loaded:
    """What loading took, memory in bytes. The fields are those of the event weights-loaded."""

    seconds: float
    ram_peak: int | None
    """The most anonymous memory that the process held (Linux; else None): without the pages of files it mapped."""
    gpu_peak: int
    """The most that torch had allocated on the GPU; 0 without one."""
    gpu_allocated: int
    """What torch has allocated there after loading."""


@contextmanager
def loading(dtype: torch.dtype | None, device: torch.device) -> Iterator[Callable[[], Loaded]]:
    """Inside, musubi loads an expert; afterwards what is yielded tells what that took.

    Each tensor is cast to `dtype` as it is read, None leaves them as they are; `device` is the one that trains. The
    model is the one, bit for bit, that stock musubi makes with a cast at the end.
    """
    told: list[Loaded] = []
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    began = time.monotonic()
    with _RamPeak() as ram, nullcontext() if dtype is None else casting_while_reading(dtype, device):
        yield told.pop
    seconds = round(time.monotonic() - began, 3)
    gpu_peak = torch.cuda.max_memory_allocated(device) if on_gpu else 0
    gpu_allocated = torch.cuda.memory_allocated(device) if on_gpu else 0
    told.append(Loaded(seconds, ram.peak, gpu_peak, gpu_allocated))


@contextmanager
def casting_while_reading(dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """Inside, musubi's loader gets tensors that are cast already (utils/lora_utils.py:282 at v0.3.4 opens the files).

    Casting is the GPU's work where there is one, also for tensors that go back to RAM: one thread of a CPU takes 48 s
    for an expert, and musubi's own way of reading in another type casts on the CPU.
    """

    class Casting(MemoryEfficientSafeOpen):
        def get_tensor(self, key: str, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Any:
            tensor = super().get_tensor(key, device=casts_on or device, dtype=dtype)
            if tensor.is_floating_point():  # as Module.to(dtype) does
                tensor = tensor.to(to)
            return tensor.to(device or "cpu")

    to, casts_on = dtype, (device if device.type == "cuda" else None)
    lora_utils.MemoryEfficientSafeOpen = Casting
    try:
        yield
    finally:
        lora_utils.MemoryEfficientSafeOpen = MemoryEfficientSafeOpen


class _RamPeak:
    """Looks every few milliseconds: the kernel keeps a peak only of a sum that counts mapped files."""

    def __init__(self, every: float = 0.01) -> None:
        self.peak: int | None = None
        self._every = every
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _RamPeak:
        self._look()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self._look()

    def _look(self) -> None:
        now = _anonymous_memory()
        if now is not None:
            self.peak = max(now, self.peak or 0)


def _anonymous_memory() -> int | None:
    """Bytes of RAM that the process holds for itself."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else None
