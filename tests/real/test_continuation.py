"""A training of the real musubi-tuner that is stopped, continued, extended and begun anew by the command line."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.musubi.safetensors import read_header

from .command_line import CommandLine, Finished, write_pictures
from .environment import SmallModels

RUN = """
name: paper
preset: article-wan22
images: pictures
data: {{resolution: 64}}
models: {{high: {m.t2v_high}, low: {m.t2v_low}, vae: {m.vae}, t5: {m.t5}}}
train:
  epochs: EPOCHS
  save_every_epochs: 2
  states: {{every_steps: 3}}
  mixed_precision: "no"
  fp8_base: null
  attention: sdpa
  data_loader_workers: 0
"""
HIGH = ("train", "run.yaml", "--only", "high")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_models: SmallModels) -> Path:
    place = tmp_path_factory.mktemp("continuation")
    write_pictures(place / "pictures", [(64, 64)] * 4 + [(48, 96)] * 2)
    return place


@pytest.fixture(scope="module")
def wan22lora(place: Path, command_line: Callable[..., CommandLine]) -> CommandLine:
    return command_line(place)


@pytest.fixture(scope="module")
def describe(place: Path, small_models: SmallModels) -> Callable[[int], None]:
    def of_epochs(epochs: int) -> None:
        text = RUN.format(m=small_models).replace("EPOCHS", str(epochs))
        (place / "run.yaml").write_text(text, encoding="utf-8")

    return of_epochs


def tensors(place: Path) -> dict[str, bytes]:
    """Of every LoRA file; the metadata name the time."""
    files = {path.name: path.read_bytes() for path in (place / "runs" / "paper" / "output").glob("*.safetensors")}
    return {name: content[8 + int.from_bytes(content[:8], "little") :] for name, content in files.items()}


def stopped(wan22lora: CommandLine, place: Path) -> Finished:
    states = place / "runs" / "paper" / "states" / "train-high"
    with wan22lora.start(*HIGH) as process:
        deadline = time.monotonic() + 60
        while not any(states.glob("step-*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    return Finished(process.returncode, output, 0)


def test_a_stopped_training_ends_with_the_files_of_one_that_never_stopped(
    place: Path, wan22lora: CommandLine, describe: Callable[[int], None]
) -> None:
    describe(8)
    halfway = stopped(wan22lora, place)
    assert halfway.exit_code == 130, halfway.output
    done = wan22lora(*HIGH)
    assert done.exit_code == 0, done.output
    assert "continues at step" in done.output
    interrupted = tensors(place)
    anew = wan22lora(*HIGH, "--restart")
    assert anew.exit_code == 0, anew.output
    assert "continues" not in anew.output
    assert tensors(place) == interrupted


def test_a_longer_training_goes_on_from_the_end_of_the_shorter_one(
    place: Path, wan22lora: CommandLine, describe: Callable[[int], None]
) -> None:
    describe(9)
    refused = wan22lora(*HIGH)
    assert refused.exit_code == 7
    assert "epochs was 8, is 9" in refused.output
    done = wan22lora(*HIGH, "--extend")
    assert done.exit_code == 0, done.output
    assert "continues at step 48 of 54" in done.output
    assert read_header(place / "runs" / "paper" / "output" / "paper-high.safetensors").metadata["ss_steps"] == "54"


def test_a_lost_file_is_made_again_from_the_last_state(place: Path, wan22lora: CommandLine) -> None:
    before = tensors(place)
    (place / "runs" / "paper" / "output" / "paper-high.safetensors").unlink()
    done = wan22lora(*HIGH)
    assert done.exit_code == 0, done.output
    assert "continues at step 54 of 54" in done.output
    assert tensors(place) == before
