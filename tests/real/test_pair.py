"""From six pictures to a pair of LoRAs, by the command line and the real musubi-tuner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.musubi.safetensors import read_header

from .command_line import CommandLine, write_pictures
from .environment import SmallModels

RUN = """
name: paper
preset: article-wan22
images: pictures
trigger: paperworld
data: {{resolution: 64}}
models: {{high: {m.t2v_high}, low: {m.t2v_low}, vae: {m.vae}, t5: {m.t5}}}
train:
  epochs: 2
  save_every_epochs: 1
  mixed_precision: "no"
  fp8_base: null
  attention: sdpa
  data_loader_workers: 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_models: SmallModels) -> Path:
    """A folder with six pictures in two shapes, their captions, and a run.yaml."""
    place = tmp_path_factory.mktemp("pair")
    write_pictures(place / "pictures", [(64, 64)] * 4 + [(48, 96)] * 2)
    (place / "run.yaml").write_text(RUN.format(m=small_models), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def wan22lora(place: Path, command_line: Callable[..., CommandLine]) -> CommandLine:
    return command_line(place)


def caches(place: Path) -> dict[str, tuple[int, int]]:
    files = (place / "runs" / "paper" / "cache").rglob("*.safetensors")
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def test_a_run_yaml_becomes_a_pair_of_loras(place: Path, wan22lora: CommandLine) -> None:
    predicted = wan22lora.predicted_steps()
    trained = wan22lora("train", "run.yaml")
    assert trained.exit_code == 0, trained.output
    output = place / "runs" / "paper" / "output"
    for expert, timesteps in (("high", "875,1000"), ("low", "0,875")):
        header = read_header(output / f"paper-{expert}.safetensors")
        assert header.metadata["modelspec.timestep_range"] == timesteps
        assert header.metadata["ss_network_dim"] == "16"
        assert int(header.metadata["ss_steps"]) == predicted.pop(0) == 12
        assert (output / f"paper-{expert}-000001.safetensors").is_file()


def test_a_second_train_runs_nothing_and_says_so_quickly(wan22lora: CommandLine) -> None:
    again = wan22lora("train", "run.yaml")
    assert again.exit_code == 0
    assert "nothing to do" in again.output
    assert again.seconds < 2


def test_an_edited_caption_is_encoded_alone(place: Path, wan22lora: CommandLine) -> None:
    before = caches(place)
    (place / "pictures" / "3.txt").write_text("paperworld, number three\n", encoding="utf-8")
    done = wan22lora("cache", "run.yaml", "--only-text")
    assert done.exit_code == 0, done.output
    after = caches(place)
    assert {name for name in after if after[name] != before[name]} == {"3_wan_te.safetensors"}
    header = read_header(place / "runs" / "paper" / "cache" / "0" / "3_wan_te.safetensors")
    assert header.metadata["caption1"] == "paperworld, number three"


def test_a_replaced_picture_is_encoded_alone_and_a_removed_one_leaves_the_cache(
    place: Path, wan22lora: CommandLine
) -> None:
    before = caches(place)
    Image.effect_noise((64, 64), 20).convert("RGB").save(place / "pictures" / "0.png")
    (place / "pictures" / "5.png").unlink()
    (place / "pictures" / "5.txt").unlink()
    done = wan22lora("cache", "run.yaml")
    assert done.exit_code == 0, done.output
    after = caches(place)
    assert set(before) - set(after) == {"5_0048x0096_wan.safetensors", "5_wan_te.safetensors"}
    assert {name for name in after if after[name] != before[name]} == {"0_0064x0064_wan.safetensors"}
