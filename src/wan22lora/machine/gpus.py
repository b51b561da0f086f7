"""Which GPUs trainings may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wan22lora.machine.nvidia import Gpu, Nvidia

ORDER_VARIABLE, BY_SLOT = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
_IDLE = 0.9
"""The share of a GPU's memory that is free where nobody else computes on it."""


def usable_gpus(named: Sequence[str], nvidia: Nvidia) -> tuple[str, ...]:
    """Values for CUDA_VISIBLE_DEVICES, one a GPU, the one that a single training takes first.

    Those that CUDA_VISIBLE_DEVICES has `named` are a person's choice. Without it these are the first GPU and all others
    that are idle, on a machine whose GPUs are of one kind; among different ones CUDA counts otherwise than the driver.
    """
    if named:
        return tuple(dict.fromkeys(named))
    first, *others = nvidia.gpus or (None,)
    if first is None or any(each is not None and each.name != first.name for each in others):
        return ("0",)
    return ("0", *(str(each.index) for each in others if each is not None and _is_idle(each)))


def kind_of(device: str, nvidia: Nvidia, variables: Mapping[str, str]) -> str | None:
    """The name of the GPUs that a value of CUDA_VISIBLE_DEVICES, one or several with commas, means to a training.

    None where there is none or they differ, and where nobody can say: CUDA counts different GPUs by speed.
    """
    names = {each.name for each in nvidia.gpus}
    found = [nvidia.gpu(each) for each in device.split(",")]
    kinds = {each.name for each in found if each is not None}
    by_number = len(names) > 1 and any(each.isdigit() for each in device.split(","))
    if None in found or len(kinds) != 1 or (by_number and variables.get(ORDER_VARIABLE) != BY_SLOT):
        return None
    return kinds.pop()


def _is_idle(gpu: Gpu) -> bool:
    return gpu.total is not None and gpu.free is not None and gpu.free >= _IDLE * gpu.total
