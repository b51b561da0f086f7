"""Which build of torch fits a driver and a GPU.

The three builds are those that musubi-tuner names (pyproject.toml at v0.3.4, `cu124`, `cu128`, `cu130`), each at the
lowest version it accepts, except that torch 2.6.0 is the last and most complete one for CUDA 12.4. The xformers
beside each is the release made for exactly that torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wan22lora.errors import MachineError
from wan22lora.machine.nvidia import Nvidia

BuildName = Literal["cu124", "cu128", "cu130", "cpu"]
WHEELS = "https://download.pytorch.org/whl"
"""PyTorch's own index of wheels, one folder for each build; general registries carry a single build only."""

_BLACKWELL = (10, 0)
"""The first compute capability that needs CUDA 12.8: B200 is 10.0, RTX 50xx 12.0."""
_TURING = (7, 5)
"""The first compute capability that CUDA 13 still compiles for."""


@dataclass(frozen=True)
class TorchBuild:
    """torch and what must match it to the digit, from one index."""

    name: BuildName
    torch: str
    torchvision: str
    xformers: str
    gigabytes: float
    """About what it downloads, CUDA's libraries included, in GB (10⁹ bytes)."""

    @property
    def index(self) -> str:
        return f"{WHEELS}/{self.name}"

    @property
    def packages(self) -> tuple[str, ...]:
        return (f"torch=={self.torch}", f"torchvision=={self.torchvision}")


BUILDS: Mapping[BuildName, TorchBuild] = {
    "cu124": TorchBuild("cu124", "2.6.0", "0.21.0", "0.0.29.post3", 3),
    "cu128": TorchBuild("cu128", "2.7.1", "0.22.1", "0.0.31.post1", 4),
    "cu130": TorchBuild("cu130", "2.9.1", "0.24.1", "0.0.33.post2", 3),
    "cpu": TorchBuild("cpu", "2.7.1", "0.22.1", "0.0.31.post1", 0.2),
}
ARTICLE = TorchBuild("cu128", "2.7.0", "0.22.0", "0.0.30", 4)
"""What the Wan 2.2 article installs."""


@dataclass(frozen=True)
class Card:
    """What the driver says of the machine's GPU."""

    name: str
    capability: tuple[int, int]
    """The compute capability, (9, 0) for an H100."""
    cuda: tuple[int, int]
    """The newest CUDA that the driver knows, as nvidia-smi shows it."""


def card_of(nvidia: Nvidia, device: str) -> Card | None:
    """The GPU that CUDA_VISIBLE_DEVICES names, as far as the choice of torch depends on it."""
    gpu = nvidia.gpu(device)
    if gpu is None or gpu.capability is None or nvidia.cuda is None:
        return None
    return Card(gpu.name, gpu.capability, nvidia.cuda)


def build_for(gpu: Card) -> BuildName:
    """The newest build that the driver and the GPU can run. Raises MachineError if there is none."""
    refusals = {}
    for name in ("cu130", "cu128", "cu124"):
        refusals[name] = refusal(name, gpu)
        if not refusals[name]:
            return name
    raise MachineError(
        f"No build of torch that musubi-tuner takes runs here: {refusals['cu128'] or refusals['cu124']}.",
        fix="install NVIDIA's driver 570 or newer, or rent a machine that has it (nvidia-smi: CUDA 12.8 or more)",
    )


def refusal(name: BuildName, gpu: Card) -> str:
    """Why a build would not run with this driver and GPU; empty if it does.

    cu124 runs with any driver for CUDA 12 (NVIDIA's minor version compatibility); for the others the driver's own
    version decides, since they are there for what is newer.
    """
    driver = f"the driver knows CUDA {gpu.cuda[0]}.{gpu.cuda[1]}"
    if name == "cpu":
        return ""
    if gpu.capability >= _BLACKWELL and name == "cu124":
        return f"{gpu.name} needs CUDA 12.8"
    if gpu.capability >= _BLACKWELL and gpu.cuda < (12, 8):
        return f"{driver} and {gpu.name} needs 12.8"
    if gpu.capability < _TURING and name != "cu124":
        return f"{gpu.name} is older than what {name} is compiled for"
    needed = {"cu124": (12, 0), "cu128": (12, 8), "cu130": (13, 0)}[name]
    return f"{driver} and {name} needs {needed[0]}.{needed[1]}" if gpu.cuda < needed else ""
