"""The small models, as paths."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from .musubi_python import make_environment

_WRITE_MODELS = Path(__file__).parent / "inside" / "write_models.py"


@dataclass(frozen=True)
class SmallModels:
    """Random weights that musubi loads like the real ones, and a hub cache with a tokenizer.

    The DiTs are float32, as autocast on a CPU has no float32 mode: train with `--mixed_precision no`.
    """

    t2v_high: Path
    t2v_low: Path
    i2v_high: Path
    i2v_low: Path
    wan21_t2v: Path
    vae: Path
    t5: Path
    hf_home: Path


def make_small_models(python: Path, checkout: Path, folder: Path) -> SmallModels:
    """Writes the models (270 MB, mostly the VAE) into the empty `folder` with musubi's own classes."""
    env = make_environment(checkout, folder / "hf_home")
    subprocess.run([python, _WRITE_MODELS, folder], env=env, check=True, cwd=folder)
    return SmallModels(
        t2v_high=folder / "t2v_high.safetensors",
        t2v_low=folder / "t2v_low.safetensors",
        i2v_high=folder / "i2v_high.safetensors",
        i2v_low=folder / "i2v_low.safetensors",
        wan21_t2v=folder / "wan21_t2v.safetensors",
        vae=folder / "vae.safetensors",
        t5=folder / "t5.pth",
        hf_home=folder / "hf_home",
    )
