"""The NVIDIA driver and its GPUs, asked of the driver's own library (NVML) without a process or a CUDA context."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Trouble = Literal["no driver", "driver not loaded", "driver changed", "not allowed", "other"]


@dataclass(frozen=True)
class GpuProcess:
    """A program that holds memory of a GPU."""

    pid: int
    name: str
    """Empty where it cannot be told, as for a program outside this container."""
    memory: int | None
    """Bytes; None where the driver does not say."""
    own: bool = False
    """It belongs to the same user, who may end it."""


@dataclass(frozen=True)
class Gpu:
    """One GPU. Memory in bytes; None for what the driver does not tell."""

    index: int
    """Its number in nvidia-smi, which is by slot."""
    uuid: str
    name: str
    total: int | None
    free: int | None
    capability: tuple[int, int] | None
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True)
class Nvidia:
    """The driver and what it drives."""

    driver: str | None = None
    """Its version; None when no driver answers."""
    cuda: tuple[int, int] | None = None
    """The newest CUDA that the driver can serve."""
    gpus: tuple[Gpu, ...] = ()
    trouble: Trouble | None = None
    detail: str = ""
    """The library's own words for the trouble."""

    def gpu(self, device: str) -> Gpu | None:
        """The GPU that a value of CUDA_VISIBLE_DEVICES names: an index, a UUID or the start of one."""
        for gpu in self.gpus:
            if device == str(gpu.index) or (device.startswith("GPU-") and gpu.uuid.startswith(device)):
                return gpu
        return None


def read_nvidia() -> Nvidia:
    """Everything NVML tells. Never raises for what a machine can lack."""
    import pynvml

    with _opened() as trouble:
        if trouble is not None:
            return trouble
        version = _asked(pynvml.nvmlSystemGetCudaDriverVersion_v2)
        count = _asked(pynvml.nvmlDeviceGetCount) or 0
        return Nvidia(
            driver=_text(_asked(pynvml.nvmlSystemGetDriverVersion)) or "unknown",
            cuda=(version // 1000, version % 1000 // 10) if version else None,
            gpus=tuple(gpu for index in range(count) if (gpu := _gpu(index)) is not None),
        )


def gpu_free_gib(device: str = "0") -> float | None:
    """Memory of one GPU in GiB that no program holds; `device` is an index or UUID as in CUDA_VISIBLE_DEVICES. None
    without a GPU.
    """
    return free_gib(read_nvidia().gpu(device))


def least_free_gib(nvidia: Nvidia, devices: Iterable[str]) -> float | None:
    """The same of the one that has the least of several; None where one is not known."""
    free = [free_gib(nvidia.gpu(device)) for device in devices]
    known = [each for each in free if each is not None]
    return min(known) if known and len(known) == len(free) else None


def free_gib(gpu: Gpu | None) -> float | None:
    """Of a GPU that is known already."""
    return gpu.free / 2**30 if gpu is not None and gpu.free is not None else None


@contextmanager
def _opened() -> Iterator[Nvidia | None]:
    import pynvml

    troubles: dict[type[Exception], Trouble] = {
        pynvml.NVMLError_LibraryNotFound: "no driver",
        pynvml.NVMLError_DriverNotLoaded: "driver not loaded",
        pynvml.NVMLError_LibRmVersionMismatch: "driver changed",
        pynvml.NVMLError_NoPermission: "not allowed",
    }
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield Nvidia(trouble=troubles.get(type(error), "other"), detail=str(error))
        return
    try:
        yield None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _gpu(index: int) -> Gpu | None:
    import pynvml

    handle = _asked(pynvml.nvmlDeviceGetHandleByIndex, index)
    if handle is None:
        return None
    memory = _asked(pynvml.nvmlDeviceGetMemoryInfo, handle)
    capability = _asked(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    return Gpu(
        index=index,
        uuid=_text(_asked(pynvml.nvmlDeviceGetUUID, handle)),
        name=_text(_asked(pynvml.nvmlDeviceGetName, handle)) or "a GPU without a name",
        total=int(memory.total) if memory is not None else None,
        free=int(memory.free) if memory is not None else None,
        capability=(int(capability[0]), int(capability[1])) if capability else None,
        processes=tuple(_processes(handle)),
    )


def _processes(handle: Any) -> Iterator[GpuProcess]:
    import pynvml

    running: dict[int, int | None] = {}
    for question in (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses):
        for process in _asked(question, handle) or ():
            memory = process.usedGpuMemory
            running[int(process.pid)] = int(memory) if memory is not None else running.get(int(process.pid))
    for pid, memory in running.items():
        yield GpuProcess(pid, _name_of(pid), memory, own=_is_ours(pid))


def _name_of(pid: int) -> str:
    """The program's name without its folder, or the script that a Python runs."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    name = Path(words[0]).name
    script = next((Path(word).name for word in words[1:] if word.endswith(".py")), "")
    return f"{name} {script}".strip() if name.startswith("python") else name


def _is_ours(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid == os.getuid()
    return False


def _asked(question: Callable[..., T], *arguments: object) -> T | None:
    """The answer, or None where this driver or card has none."""
    import pynvml

    try:
        return question(*arguments)
    except pynvml.NVMLError:
        return None


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
