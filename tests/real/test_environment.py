"""The real programs run without wan22lora: if this fails, the environment of tests/real is at fault."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from .environment import SmallModels, parse_only

# 64×64 and 96×64 pixels fall into two buckets.
SIZES = [(64, 64), (96, 64)] * 3

DATASET = """
[general]
resolution = [64, 64]
caption_extension = ".txt"
enable_bucket = true

[[datasets]]
image_directory = "pictures"
cache_directory = "cache"
"""

ACCELERATE = """
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
mixed_precision: 'no'
num_machines: 1
num_processes: 1
"""

LAUNCH = shlex.split("""
-m accelerate.commands.launch --num_processes 1 --num_machines 1 --num_cpu_threads_per_process 1
--mixed_precision no --config_file accelerate.yaml
""")

TRAINING = shlex.split("""
--task t2v-A14B --dataset_config dataset.toml --sdpa --mixed_precision no --seed 5
--network_module networks.lora_wan --network_dim 4 --network_alpha 4
--optimizer_type AdamW --learning_rate 2e-3
--timestep_sampling shift --discrete_flow_shift 1.0 --preserve_distribution_shape
--min_timestep 875 --max_timestep 1000
--max_train_epochs 2 --save_every_n_epochs 1 --max_data_loader_n_workers 1
""")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Six pictures with captions, and the two files that the programs are configured with."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "cache").mkdir()
    for number, (width, height) in enumerate(SIZES):
        pixels = random.Random(number).randbytes(width * height * 3)
        Image.frombytes("RGB", (width, height), pixels).save(tmp_path / "pictures" / f"{number}.png")
        (tmp_path / "pictures" / f"{number}.txt").write_text(f"picture number {number}", encoding="utf-8")
    (tmp_path / "dataset.toml").write_text(DATASET, encoding="utf-8")
    (tmp_path / "accelerate.yaml").write_text(ACCELERATE, encoding="utf-8")
    return tmp_path


def run_program(argv: Sequence[str | Path], job: Path, env: dict[str, str]) -> str:
    began = time.monotonic()
    ended = subprocess.run(argv, cwd=job, env=env, capture_output=True, text=True, encoding="utf-8")
    program = next(Path(word).name for word in argv if str(word).endswith(".py"))
    print(f"{program}: {time.monotonic() - began:.1f} s")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    metadata = header.pop("__metadata__")
    places = {name: [start + offset for offset in tensor["data_offsets"]] for name, tensor in header.items()}
    return metadata, {name: content[begin:end] for name, (begin, end) in places.items()}


def test_the_real_programs_train_a_lora_on_a_cpu(
    job: Path,
    musubi_checkout: Path,
    musubi_python: Path,
    small_models: SmallModels,
    environment: dict[str, str],
) -> None:
    programs = musubi_checkout / "src" / "musubi_tuner"

    def run(*argv: str | Path) -> str:
        return run_program([musubi_python, *argv], job, environment)

    data = ["--dataset_config", "dataset.toml"]
    run(programs / "wan_cache_latents.py", *data, "--vae", small_models.vae)
    run(programs / "wan_cache_text_encoder_outputs.py", *data, "--t5", small_models.t5)
    expected = {f"{number}_{width:04}x{height:04}_wan.safetensors" for number, (width, height) in enumerate(SIZES)}
    expected |= {f"{number}_wan_te.safetensors" for number in range(len(SIZES))}
    assert {path.name for path in (job / "cache").iterdir()} == expected

    output = ["--output_dir", "lora", "--output_name", "high"]
    said = run(*LAUNCH, programs / "wan_train_network.py", *TRAINING, *output, "--dit", small_models.t2v_high)
    assert "学習ステップ数: 12" in said
    assert {path.name for path in (job / "lora").iterdir()} == {"high-000001.safetensors", "high.safetensors"}

    metadata, tensors = read_safetensors(job / "lora" / "high.safetensors")
    assert metadata["modelspec.timestep_range"] == "875,1000"
    assert metadata["ss_steps"] == "12"
    # The upper half of a LoRA starts at zero and leaves it only when gradients reach it.
    uppers = [content for name, content in tensors.items() if ".lora_up." in name]
    assert len(uppers) == 20
    assert all(any(content) for content in uppers)


def test_a_process_that_does_not_import_torch_is_left_alone(musubi_python: Path, environment: dict[str, str]) -> None:
    code = "import sys; print(sorted({'torch', 'torchvision', 'musubi_tuner'} & set(sys.modules)))"
    assert subprocess.check_output([musubi_python, "-c", code], env=environment, text=True).strip() == "[]"


def test_an_argument_list_is_judged_by_the_programs_own_parser(
    musubi_checkout: Path, musubi_python: Path, environment: dict[str, str]
) -> None:
    good, unknown = [*TRAINING, "--dit", "absent.safetensors"], [*TRAINING, "--learn_rate", "1"]
    wrong = [*TRAINING, "--learning_rate", "fast"]
    assert parse_only(musubi_python, musubi_checkout, "wan_train_network", [good, unknown, wrong], environment) == [
        None,
        "unrecognized arguments: --learn_rate 1",
        "argument --learning_rate: invalid float value: 'fast'",
    ]
