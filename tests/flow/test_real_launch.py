"""Runs that are no rehearsals, with stand-ins as musubi-tuner: weights on their way, a checkout at a wrong commit."""

from __future__ import annotations

import shlex
import sys
import time
import zipfile
from pathlib import Path

import pytest

from wan22lora.models.arriving import Arrival
from wan22lora.musubi.safetensors import write

from .conftest import SOURCE, Place

STAND_IN = f"""#!/bin/sh
PYTHONPATH={shlex.quote(str(SOURCE))} exec {shlex.quote(sys.executable)} -m wan22lora.rehearsal python "$@"
"""


def expert(path: Path) -> None:
    shapes = {
        "blocks.0.cross_attn.k.weight": (2, 2),
        "patch_embedding.weight": (2, 16, 1, 2, 2),
        "head.head.weight": (2, 2),
    }
    sizes = {"blocks.0.cross_attn.k.weight": 8, "patch_embedding.weight": 256, "head.head.weight": 8}
    write(path, {name: ("F16", shape, bytes(sizes[name])) for name, shape in shapes.items()}, {})


@pytest.fixture
def musubi(place: Place) -> Place:
    """A checkout, and a Python that plays its programs and the trainer; the low-noise expert is not there."""
    programs = place.path / "musubi" / "src" / "musubi_tuner"
    programs.mkdir(parents=True)
    for program in ("wan_cache_latents", "wan_cache_text_encoder_outputs", "wan_train_network"):
        (programs / f"{program}.py").touch()
    python = place.write(STAND_IN, "python")
    python.chmod(0o755)
    expert(place.path / "wan2.2_t2v_high_noise_14B_fp16.safetensors")
    for name in ("vae.pth", "t5.pth"):
        with zipfile.ZipFile(place.path / name, "w") as archive:
            archive.writestr("archive/data.pkl", b"")
    place.write("musubi: musubi\nmusubi_python: python\n", "machine.yaml")
    place.environment["WAN22LORA_MACHINE"] = str(place.path / "machine.yaml")
    place.write(
        "name: paper\npreset: style\nimages: pictures\ntrain: {epochs: 2}\n"
        "models: {high: wan2.2_t2v_high_noise_14B_fp16.safetensors, low: wan2.2_t2v_low_noise_14B_fp16.safetensors,"
        " vae: vae.pth, t5: t5.pth}\n"
    )
    return place


def test_the_high_noise_expert_trains_while_the_low_noise_one_arrives(musubi: Place) -> None:
    low = musubi.path / "wan2.2_t2v_low_noise_14B_fp16.safetensors"
    output = musubi.path / "runs" / "paper" / "output"
    arrival = Arrival(low)
    assert arrival.take()
    process = musubi.start("train", "run.yaml")
    deadline = time.monotonic() + 30
    while not (output / "paper-high.safetensors").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    assert process.poll() is None
    assert not (output / "paper-low.safetensors").exists()
    expert(low)
    arrival.leave()
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert "train-low waits for wan2.2_t2v_low_noise_14B_fp16.safetensors" in stdout
    assert (output / "paper-low.safetensors").is_file()
    again = musubi.wan22lora("train", "run.yaml")
    assert "nothing to do" in again.stdout, again.output


def test_a_fetch_that_gives_up_ends_the_wait_with_the_file_named(musubi: Place) -> None:
    low = musubi.path / "wan2.2_t2v_low_noise_14B_fp16.safetensors"
    arrival = Arrival(low)
    assert arrival.take()
    process = musubi.start("train", "run.yaml")
    time.sleep(3)
    arrival.leave()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 4
    assert str(low) in stderr


def test_a_checkout_at_another_revision_is_refused_with_the_command_that_mends_it(musubi: Place) -> None:
    (musubi.path / "musubi" / ".git").mkdir()
    (musubi.path / "musubi" / ".git" / "HEAD").write_text("0123456789abcdef" * 2 + "01234567\n", encoding="utf-8")
    done = musubi.wan22lora("train", "run.yaml")
    assert done.exit_code == 4
    assert "checkout --detach 30c658c4f4b0bf05038b3346eff9670259b10fc7" in done.stderr
    assert not (musubi.path / "runs" / "paper" / "logs").exists()


def test_files_that_only_a_training_reads_are_missed_before_anything_starts(musubi: Place) -> None:
    with (musubi.path / "run.yaml").open("a", encoding="utf-8") as file:
        file.write("experts: {low: {network_weights: earlier.safetensors}}\nmusubi: {train: {sample_prompts: p.txt}}\n")
    expert(musubi.path / "wan2.2_t2v_low_noise_14B_fp16.safetensors")
    done = musubi.wan22lora("train", "run.yaml")
    assert done.exit_code == 4
    assert "run.yaml:6:17 experts.low.network_weights" in done.stderr
    assert "run.yaml:7:18 musubi.train.sample_prompts" in done.stderr
