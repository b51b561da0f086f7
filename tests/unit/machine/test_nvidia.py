from __future__ import annotations

import pytest

from wan22lora.machine.nvidia import Gpu, Nvidia, read_nvidia

TWO = Nvidia(
    driver="570.1",
    gpus=(
        Gpu(0, "GPU-aaaa-1", "A", 1, 1, (8, 6)),
        Gpu(1, "GPU-bbbb-2", "B", 1, 1, (8, 6)),
    ),
)


@pytest.mark.parametrize(
    ("device", "name"),
    [("0", "A"), ("1", "B"), ("GPU-bbbb-2", "B"), ("GPU-aa", "A"), ("2", None), ("-1", None), ("MIG-x", None)],
)
def test_a_gpu_is_found_by_what_cuda_visible_devices_says(device: str, name: str | None) -> None:
    found = TWO.gpu(device)
    assert (found.name if found else None) == name


def test_reading_the_driver_raises_nothing_where_there_is_none() -> None:
    nvidia = read_nvidia()
    assert (nvidia.driver is None) == (nvidia.trouble is not None)
