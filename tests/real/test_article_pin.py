"""The article's revision of musubi-tuner trains a pair too, option for option as the article does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from wan22lora.musubi.safetensors import read_header

from .command_line import CommandLine, write_pictures
from .environment import SmallModels

RUN = """
name: old
preset: article-wan22
pin: article
images: pictures
data: {{resolution: 64}}
models: {{high: {m.t2v_high}, low: {m.t2v_low}, vae: {m.vae}, t5: {m.t5}}}
train:
  epochs: 1
  mixed_precision: "no"
  fp8_base: null
  attention: sdpa
  data_loader_workers: 0
"""


def test_the_articles_revision_trains_a_pair(
    tmp_path: Path,
    command_line: Callable[..., CommandLine],
    article_checkout: Path,
    small_models: SmallModels,
) -> None:
    write_pictures(tmp_path / "pictures", [(64, 64)] * 2)
    (tmp_path / "run.yaml").write_text(RUN.format(m=small_models), encoding="utf-8")
    wan22lora = command_line(tmp_path, article_checkout)
    predicted = wan22lora.predicted_steps()
    trained = wan22lora("train", "run.yaml")
    assert trained.exit_code == 0, trained.output
    assert predicted == [2, 2]
    for expert, timesteps in (("high", (875, 1000)), ("low", (0, 875))):
        header = read_header(tmp_path / "runs" / "old" / "output" / f"old-{expert}.safetensors")
        print(json.dumps(header.metadata, indent=1))
        assert header.metadata["ss_steps"] == "2"
        assert header.metadata["ss_mixed_precision"] == "no"
        assert header.metadata["modelspec.timestep_range"] == "{},{}".format(*timesteps)
    again = wan22lora("train", "run.yaml")
    assert "nothing to do" in again.output, again.output
