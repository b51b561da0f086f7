"""doctor on a machine with a GPU: what the driver, torch and musubi's programs answer there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from wan22lora.doctor.environment import ask_environment
from wan22lora.doctor.examine import examine
from wan22lora.doctor.facts import gather
from wan22lora.machine.nvidia import read_nvidia
from wan22lora.machine.settings import read_machine

HOLD = (
    "import torch, sys; held = torch.ones(3 << 30, dtype=torch.uint8, device='cuda'); print('held'); sys.stdin.read()"
)


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """Another program that holds 3 GiB of the GPU."""
    python = os.environ["WAN22LORA_MUSUBI_PYTHON"]
    with subprocess.Popen([python, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_the_driver_tells_its_version_and_the_gpu(gpu_gib: float) -> None:
    nvidia = read_nvidia()
    gpu = nvidia.gpu("0")
    assert nvidia.trouble is None
    assert nvidia.cuda is not None
    assert gpu is not None
    assert gpu.total is not None
    assert 0.95 * gpu.total < gpu_gib * 2**30 <= gpu.total  # what is free; the driver keeps some for itself
    assert gpu.capability is not None
    assert gpu == nvidia.gpu(gpu.uuid)


def test_torch_computes_and_the_programs_can_be_imported() -> None:
    found = ask_environment(read_machine())
    assert found.errors == {}
    assert found.torch is not None
    assert found.torch.computes
    assert "musubi_tuner.wan_train_network" in found.modules


def test_what_another_program_holds_is_told(holder: subprocess.Popen[bytes]) -> None:
    assert holder.poll() is None
    (check,) = [check for group in examine(gather()) for check in group.checks if check.name == "gpu-memory"]
    print(check)
    assert check.status == "warning"
    (gpu,) = read_nvidia().gpus[:1]
    assert gpu.total is not None
    assert gpu.free is not None
    assert gpu.total - gpu.free > 3 * 2**30
    if gpu.processes:  # inside a container the driver may tell of none
        assert any((process.memory or 3 << 30) >= 3 << 30 for process in gpu.processes)
