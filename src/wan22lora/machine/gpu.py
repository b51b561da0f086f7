"""The GPU's memory, asked of NVIDIA's management library; no process is started and no CUDA context made."""

from __future__ import annotations

from contextlib import suppress


def gpu_memory_gib(device: str = "0") -> float | None:
    """Total memory of one GPU in GiB; `device` is an index or UUID as in CUDA_VISIBLE_DEVICES. None without a GPU."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        if device.isdigit():
            handle = pynvml.nvmlDeviceGetHandleByIndex(int(device))
        else:
            handle = pynvml.nvmlDeviceGetHandleByUUID(device)
        return float(pynvml.nvmlDeviceGetMemoryInfo(handle).total) / 2**30
    except pynvml.NVMLError:
        return None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
