"""Full size on a CUDA machine: real musubi, real accelerate, files as large as the released ones, random weights."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from wan22lora.machine.nvidia import gpu_free_gib

HOW = (
    "tests/gpu needs a CUDA GPU of 48 GB, 45 GB of free RAM, WAN22LORA_MUSUBI, WAN22LORA_MUSUBI_PYTHON "
    "and 42 GB of disk at WAN22LORA_GPU_WEIGHTS (a folder that the tests fill with random weights)"
)
NEEDED = ("WAN22LORA_MUSUBI", "WAN22LORA_MUSUBI_PYTHON", "WAN22LORA_GPU_WEIGHTS")


@dataclass(frozen=True)
class FullModels:
    """Random weights of the released files' sizes; high and low are one file under two names."""

    high: Path
    low: Path
    vae: Path
    t5: Path
    hf_home: Path


@pytest.fixture(scope="session", autouse=True)
def gpu_gib() -> float:
    """What is free of the GPU's memory; every test here is skipped where something is missing."""
    memory = gpu_free_gib()
    if memory is None or any(name not in os.environ for name in NEEDED):
        pytest.skip(HOW)
    return memory


@pytest.fixture(scope="session")
def full_models(gpu_gib: float) -> FullModels:
    folder = Path(os.environ["WAN22LORA_GPU_WEIGHTS"])
    models = FullModels(
        high=folder / "wan2.2_t2v_high_noise_14B_fp16.safetensors",
        low=folder / "wan2.2_t2v_low_noise_14B_fp16.safetensors",
        vae=folder / "wan_2.1_vae.safetensors",
        t5=folder / "models_t5_umt5-xxl-enc-bf16.pth",
        hf_home=folder / "hf_home",
    )
    if not models.low.exists():  # written last
        folder.mkdir(parents=True, exist_ok=True)
        checkout = Path(os.environ["WAN22LORA_MUSUBI"])
        subprocess.run(
            [os.environ["WAN22LORA_MUSUBI_PYTHON"], Path(__file__).parent / "inside" / "write_full_models.py", folder],
            env={**os.environ, "PYTHONPATH": str(checkout / "src")},
            check=True,
        )
    return models
