"""Clips, and the image-to-video experts with their boundary at 900, by the command line and the real musubi-tuner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wan22lora.musubi.safetensors import read_header

from .command_line import CommandLine, write_clip
from .environment import SmallModels

RUN = """
name: walk
preset: i2v
videos: clips
data: {{resolution: 64, frames: 5}}
models: {{high: {m.i2v_high}, low: {m.i2v_low}, vae: {m.vae}, t5: {m.t5}}}
train:
  steps: 2
  save_every_steps: null
  mixed_precision: "no"
  fp8_base: null
  data_loader_workers: 0
"""


def test_clips_become_a_pair_of_image_to_video_loras(
    tmp_path: Path, command_line: Callable[..., CommandLine], small_models: SmallModels
) -> None:
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "short.mp4", frames=12, rate=32)
    write_clip(tmp_path / "clips" / "long.mp4", frames=16, rate=32)
    (tmp_path / "run.yaml").write_text(RUN.format(m=small_models), encoding="utf-8")
    trained = command_line(tmp_path)("train", "run.yaml")
    assert trained.exit_code == 0, trained.output

    caches = {
        path.name: read_header(path) for path in (tmp_path / "runs" / "walk" / "cache").rglob("*_wan.safetensors")
    }
    assert sorted(caches) == ["long_00000-005_0064x0064_wan.safetensors", "short_00000-005_0064x0064_wan.safetensors"]
    for header in caches.values():
        # five frames are two in latents, and the picture that the clip starts with has their shape
        assert any(name.startswith("latents_image_2x8x8") for name in header.tensors), list(header.tensors)
    for expert, timesteps in (("high", "900,1000"), ("low", "0,900")):
        metadata = read_header(tmp_path / "runs" / "walk" / "output" / f"walk-{expert}.safetensors").metadata
        assert metadata["modelspec.timestep_range"] == timesteps
        assert metadata["ss_steps"] == "2"
