"""A machine on which everything is right, and runs planned on it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wan22lora.doctor.checkout import Checkout
from wan22lora.doctor.environment import MODULES, Environment, Torch
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.needs import modules_for
from wan22lora.doctor.run_facts import Run, read_run
from wan22lora.doctor.stored import stored_files
from wan22lora.doctor.tokenizer import Tokenizer
from wan22lora.machine.gpus import usable_gpus
from wan22lora.machine.nvidia import Gpu, Nvidia
from wan22lora.machine.ram import Ram
from wan22lora.machine.settings import Machine
from wan22lora.machine.space import Space
from wan22lora.models.catalogue import CATALOGUE
from wan22lora.models.places import target
from wan22lora.musubi.pins import V0_3_4
from wan22lora.musubi.safetensors import write

GB = 10**9
GIB = 2**30
H100 = Gpu(0, "GPU-1111", "NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB, (9, 0))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Folders in a temporary place; weights with the tensor names of the real ones, and nearly no data."""
    models = tmp_path / "models"
    for file in CATALOGUE:
        path = target(models, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.role == "vae":
            shape = (96, 3, 1)
            write(path, {"encoder.conv1.weight": ("F32", shape, bytes(4 * 288)), "decoder.conv1.weight": one()}, {})
        elif file.role in ("high", "low", "dit"):
            channels = 36 if "i2v-A14B" in file.tasks else 16
            dtype = "F8_E4M3" if file.role == "dit" else "F16"
            size = 1 if file.role == "dit" else 2
            weights = {
                "blocks.0.cross_attn.k.weight": (dtype, (1,), bytes(size)),
                "patch_embedding.weight": (dtype, (1, channels, 1, 1, 1), bytes(size * channels)),
            }
            write(path, weights, {})
        elif file.role == "t5":
            path = path.with_suffix(".safetensors")
            write(path, {"token_embedding.weight": one(), "blocks.0.norm1.weight": one()}, {})
    checkout = tmp_path / "musubi-tuner"
    return Machine(checkout, "the default place", checkout / ".venv" / "bin" / "python", models)


def one() -> tuple[str, tuple[int, ...], bytes]:
    return ("F32", (1,), bytes(4))


@pytest.fixture
def healthy(machine: Machine, tmp_path: Path) -> Facts:
    """A rented machine with one H100 on which setup has run."""

    def space(folder: Path, device: int = 1) -> Space:
        return Space(folder, tmp_path, device, 500 * GB, 200 * GB, True)

    return Facts(
        machine=machine,
        settings=tmp_path / "machine.yaml",
        system="Linux",
        python=(3, 12, 3),
        git="2.43.0",
        nvidia=Nvidia("570.86.15", (12, 8), (H100,)),
        ram=Ram(128 * GB, 120 * GB),
        shared_memory=space(Path("/dev/shm"), 2),
        models_space=space(machine.models),
        musubi_space=space(machine.musubi),
        checkout=Checkout("there", V0_3_4.revision, requirements={"accelerate": "1.6.0"}),
        environment=Environment(
            "asked",
            version=(3, 10, 12),
            modules=dict.fromkeys(MODULES, "1.0"),
            distributions={"accelerate": "1.6.0", "pip": "25.0"},
            torch=Torch("2.7.1+cu128", (12, 8), True, "", H100.name, (9, 0), ("sm_80", "sm_90", "sm_120"), True),
        ),
        made_by_setup=True,
        tokenizer=Tokenizer(machine.models / "hub"),
        stored=stored_files(machine.models, None),
    )


@pytest.fixture
def with_run(healthy: Facts, tmp_path: Path) -> Callable[..., Facts]:
    """The healthy machine with a run of eighteen pictures; `text` is what its run.yaml says beside them."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(18):
        Image.new("RGB", (96, 96), (index * 10, 90, 40)).save(pictures / f"{index:02d}.png")
        (pictures / f"{index:02d}.txt").write_text(f"zxq, picture {index}", encoding="utf-8")

    def with_text(text: str = "", **changes: Any) -> Facts:
        file = tmp_path / "run.yaml"
        file.write_text("name: a\npreset: style\nimages: pictures\n" + textwrap.dedent(text), encoding="utf-8")
        facts = replace(healthy, **changes)
        gpu = facts.nvidia.gpu(facts.machine.gpu)
        training = replace(facts.machine, gpus=usable_gpus(facts.machine.gpus, facts.nvidia))
        run: Run = read_run(file, training, lambda: gpu.total / GIB if gpu and gpu.total else None)
        return replace(
            facts,
            run=run,
            wanted=modules_for(run.spec) if run.spec else {},
            run_space=replace(facts.models_space, folder=tmp_path / "runs" / "a") if facts.models_space else None,
            stored=stored_files(facts.machine.models, run),
        )

    return with_text
