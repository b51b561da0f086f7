"""From six pictures to a pair of LoRAs, by the command line and the real musubi-tuner."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.musubi.safetensors import read_header

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


@dataclass(frozen=True)
class Finished:
    exit_code: int
    output: str
    seconds: float


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_models: SmallModels) -> Path:
    """A folder with six pictures in two shapes, their captions, and a run.yaml."""
    place = tmp_path_factory.mktemp("pair")
    (place / "pictures").mkdir()
    for index, size in enumerate([(64, 64)] * 4 + [(48, 96)] * 2):
        Image.effect_noise(size, 80).convert("RGB").save(place / "pictures" / f"{index}.png")
        (place / "pictures" / f"{index}.txt").write_text(f"paperworld, number {index}\n", encoding="utf-8")
    (place / "run.yaml").write_text(RUN.format(m=small_models), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def wan22lora(
    place: Path,
    musubi_checkout: Path,
    musubi_python: Path,
    environment: dict[str, str],
    small_models: SmallModels,
) -> Callable[..., Finished]:
    """Runs the command line as a person does, in the folder of the run; the tokenizer lies beside the weights."""
    (place / "models").mkdir()
    (place / "models" / "hub").symlink_to(small_models.hf_home / "hub")
    (place / "machine.yaml").write_text("models: models\n", encoding="utf-8")
    own = {name: value for name, value in environment.items() if not name.startswith("HF_")}

    def run(*argv: str) -> Finished:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "wan22lora", *argv],
            cwd=place,
            env={
                **own,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "WAN22LORA_MUSUBI": str(musubi_checkout),
                "WAN22LORA_MUSUBI_PYTHON": str(musubi_python),
                "WAN22LORA_MACHINE": str(place / "machine.yaml"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )
        return Finished(done.returncode, done.stdout, time.monotonic() - started)

    return run


def caches(place: Path) -> dict[str, tuple[int, int]]:
    files = (place / "runs" / "paper" / "cache").rglob("*.safetensors")
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def test_a_run_yaml_becomes_a_pair_of_loras(place: Path, wan22lora: Callable[..., Finished]) -> None:
    planned = wan22lora("train", "run.yaml", "--dry-run")
    predicted = [int(steps) for steps in re.findall(r"# train-\w+: (\d+) optimizer steps", planned.output)]
    trained = wan22lora("train", "run.yaml")
    assert trained.exit_code == 0, trained.output
    output = place / "runs" / "paper" / "output"
    for expert, timesteps in (("high", "875,1000"), ("low", "0,875")):
        header = read_header(output / f"paper-{expert}.safetensors")
        assert header.metadata["modelspec.timestep_range"] == timesteps
        assert header.metadata["ss_network_dim"] == "16"
        assert int(header.metadata["ss_steps"]) == predicted.pop(0) == 12
        assert (output / f"paper-{expert}-000001.safetensors").is_file()


def test_a_second_train_runs_nothing_and_says_so_quickly(wan22lora: Callable[..., Finished]) -> None:
    again = wan22lora("train", "run.yaml")
    assert again.exit_code == 0
    assert "nothing to do" in again.output
    assert again.seconds < 2


def test_an_edited_caption_is_encoded_alone(place: Path, wan22lora: Callable[..., Finished]) -> None:
    before = caches(place)
    (place / "pictures" / "3.txt").write_text("paperworld, number three\n", encoding="utf-8")
    done = wan22lora("cache", "run.yaml", "--only-text")
    assert done.exit_code == 0, done.output
    after = caches(place)
    assert {name for name in after if after[name] != before[name]} == {"3_wan_te.safetensors"}
    header = read_header(place / "runs" / "paper" / "cache" / "0" / "3_wan_te.safetensors")
    assert header.metadata["caption1"] == "paperworld, number three"


def test_a_replaced_picture_is_encoded_alone_and_a_removed_one_leaves_the_cache(
    place: Path, wan22lora: Callable[..., Finished]
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
