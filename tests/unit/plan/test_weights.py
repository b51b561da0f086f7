from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.errors import SpecError
from wan22lora.machine.settings import Machine
from wan22lora.musubi.safetensors import write
from wan22lora.plan.prepared import Prepared
from wan22lora.plan.weights import weights_findings, weights_of

from ..conftest import as_nobody

RUN = "name: a\npreset: style\nimages: pictures\n"


def dit(path: Path, *, dtype: str = "F16", channels: int = 16, extra: tuple[str, ...] = ()) -> Path:
    """A file with an expert's tensor names and hardly any data."""
    size = {"F16": 2, "BF16": 2, "F32": 4, "F8_E4M3": 1}[dtype]
    shapes: dict[str, tuple[int, ...]] = {
        "blocks.0.cross_attn.k.weight": (2, 2),
        "patch_embedding.weight": (2, channels, 1, 2, 2),
        "head.head.weight": (2, 2),
        **dict.fromkeys(extra, (1,)),
    }
    tensors = {}
    for name, shape in shapes.items():
        count = 1
        for side in shape:
            count *= side
        tensors[name] = (dtype, shape, bytes(count * size))
    write(path, tensors, {})
    return path


@pytest.mark.parametrize(
    ("file", "lines", "key", "reason"),
    [
        ({"dtype": "BF16"}, "", "train.mixed_precision", "bf16"),
        ({}, 'experts: {high: {mixed_precision: "no"}}\n', "experts.high.mixed_precision", "first step"),
        ({"extra": ("blocks.0.cross_attn.k.scale_weight", "scaled_fp8")}, "", "models.high", "fp8_scaled"),
        ({"channels": 36}, "", "models.high", "image-to-video"),
        ({"dtype": "F8_E4M3"}, "train: {fp8_scaled: true}\n", "train.fp8_scaled", "8-bit"),
    ],
    ids=[
        "bf16 weights with fp16",
        "fp16 weights without mixed precision",
        "fp8_scaled",
        "image-to-video weights",
        "8-bit weights scaled again",
    ],
)
def test_weights_that_musubi_would_refuse_are_named_before_anything_runs(
    tmp_path: Path,
    plan: Callable[..., Prepared],
    file: dict[str, object],
    lines: str,
    key: str,
    reason: str,
) -> None:
    path = dit(tmp_path / "expert.safetensors", **file)  # type: ignore[arg-type]
    with pytest.raises(SpecError) as caught:
        plan(f"{RUN}models: {{high: {path}}}\n{lines}")
    (finding,) = caught.value.findings
    assert finding.where.split()[-1] == key
    assert reason in finding.message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wan2.2_t2v_low_noise_14B_fp16.safetensors", "low-noise expert"),
        ("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", "fp8_scaled"),
        ("wan2.2_i2v_high_noise_14B_fp16.safetensors", "image-to-video"),
        ("Wan2.2-T2V-A14B-HighNoise-Q8_0.gguf", "gguf"),
    ],
)
def test_a_file_that_is_not_there_yet_is_judged_by_its_name(
    plan: Callable[..., Prepared], name: str, reason: str
) -> None:
    with pytest.raises(SpecError) as caught:
        plan(f"{RUN}models: {{high: ./{name}}}\n")
    assert any(reason.lower() in str(finding).lower() for finding in caught.value.findings)


def test_the_right_file_gives_no_finding(tmp_path: Path, plan: Callable[..., Prepared]) -> None:
    path = dit(tmp_path / "wan2.2_t2v_high_noise_14B_fp16.safetensors")
    assert plan(f"{RUN}models: {{high: {path}}}\n").weights["high"].exists


def test_weights_are_found_in_comfyuis_and_the_articles_folders(tmp_path: Path, plan: Callable[..., Prepared]) -> None:
    name = "wan2.2_t2v_low_noise_14B_fp16.safetensors"
    folder = tmp_path / "models" / "diffusion_models" / "split_files" / "diffusion_models"
    folder.mkdir(parents=True)
    path = dit(folder / name)
    assert plan(RUN).weights["low"].path == path
    assert plan(RUN).weights["high"].path.parent == tmp_path / "models" / "diffusion_models"


def test_a_file_that_may_not_be_read_is_a_finding(
    tmp_path: Path, plan: Callable[..., Prepared], machine: Machine
) -> None:
    named = "".join(f"{name}: {name}.safetensors, " for name in ("high", "low", "vae", "t5"))
    prepared = plan(f"name: a\npreset: style\nimages: pictures\nmodels: {{{named}}}\n")
    write(tmp_path / "high.safetensors", {}, {})
    with as_nobody():  # to whom the whole folder is closed
        found = weights_findings(prepared.spec, weights_of(prepared.spec, machine))
        told = {each.where: each.message for each in found}
    assert told["run.yaml:4:10 models.high"] == "high.safetensors cannot be read: Permission denied"
    assert told["run.yaml:4:56 models.vae"] == "vae.safetensors cannot be read: Permission denied"
