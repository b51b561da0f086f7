"""The timestep's embedding without a copy from RAM, for which the process would wait for all that the GPU has to do."""

from __future__ import annotations

from typing import Any

import torch


def embed(channels: int, timesteps: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of [batch] timesteps, [batch, channels] in float64: to the bit what musubi computes.

    musubi's sinusoidal_embedding_1d (wan/modules/model.py:29-38 at v0.3.4) counts the frequencies in RAM.
    """
    half = channels // 2
    timesteps = timesteps.double()
    numbers = torch.arange(half, device=timesteps.device).double()
    angles = torch.outer(timesteps, torch.pow(10000, -numbers.div(half)))
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)


def embed_on_the_gpu(module: Any) -> None:
    """Has musubi's `module` of the model (wan/modules/model.py) embed timesteps so, for all its models."""
    module.sinusoidal_embedding_1d = embed
