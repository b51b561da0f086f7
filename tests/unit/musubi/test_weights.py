from __future__ import annotations

from math import prod
from pathlib import Path

import pytest

from wan22lora.musubi.safetensors import write
from wan22lora.musubi.weights import WeightsFacts, guess_from_name, inspect_weights

BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}


def model(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "F16") -> Path:
    write(path, {key: (dtype, shape, bytes(BYTES[dtype] * prod(shape))) for key, shape in shapes.items()}, {})
    return path


def dit(path: Path, *, dtype: str = "F16", channels: int = 16, prefix: str = "", more: tuple[str, ...] = ()) -> Path:
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embedding.weight": (4, channels, 1, 2, 2),
        "blocks.0.cross_attn.k.weight": (4, 4),
        "blocks.11.cross_attn.k.weight": (4, 4),
        "head.head.weight": (4, 4),
    }
    return model(path, {prefix + key: shape for key, shape in (shapes | dict.fromkeys(more, (4,))).items()}, dtype)


@pytest.mark.parametrize(
    ("stored", "dtype"), [("F16", "fp16"), ("BF16", "bf16"), ("F32", "fp32"), ("F8_E4M3", "fp8_e4m3fn")]
)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_text_to_video_model(tmp_path: Path, stored: str, dtype: str, prefix: str) -> None:
    facts = inspect_weights(dit(tmp_path / "wan2.2_t2v_high_noise.safetensors", dtype=stored, prefix=prefix))
    assert facts == WeightsFacts(
        "wan-dit", dtype=dtype, layers=12, task="t2v", expert="high"  # type: ignore[arg-type]
    )  # fmt: skip


def test_image_to_video_models_of_both_generations(tmp_path: Path) -> None:
    new = inspect_weights(dit(tmp_path / "new.safetensors", channels=36))
    old = inspect_weights(dit(tmp_path / "old.safetensors", channels=36, more=("blocks.0.cross_attn.k_img.weight",)))
    assert (new.task, new.has_k_img) == ("i2v", False)
    assert (old.task, old.has_k_img) == ("i2v", True)


@pytest.mark.parametrize(
    "key", ["scaled_fp8", "blocks.0.cross_attn.k.scale_weight", "blocks.0.cross_attn.k.comfy_quant"]
)
def test_scaled_fp8_is_recognised_by_its_scales(tmp_path: Path, key: str) -> None:
    assert inspect_weights(dit(tmp_path / "scaled.safetensors", dtype="F8_E4M3", more=(key,))).fp8_scaled
    assert not inspect_weights(dit(tmp_path / "plain.safetensors", dtype="F8_E4M3")).fp8_scaled


def test_the_5b_model_is_told_apart(tmp_path: Path) -> None:
    assert inspect_weights(dit(tmp_path / "5b.safetensors", channels=48)).kind == "wan22-5b-dit"


def test_a_later_shard_has_no_type_to_compare(tmp_path: Path) -> None:
    path = tmp_path / "low_noise_model" / "diffusion_pytorch_model-00002-of-00006.safetensors"
    path.parent.mkdir()
    facts = inspect_weights(model(path, {"blocks.11.cross_attn.k.weight": (4, 4)}))
    assert (facts.kind, facts.dtype, facts.shard, facts.expert) == ("wan-dit", None, (2, 6), "low")


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        ({"encoder.conv1.weight": (96, 3, 3, 3, 3), "decoder.conv1.weight": (1,)}, "wan-vae"),
        ({"encoder.conv1.weight": (160, 12, 3, 3, 3), "decoder.conv1.weight": (1,)}, "wan22-5b-vae"),
        ({"token_embedding.weight": (4, 4), "blocks.0.norm1.weight": (4,), "norm.weight": (4,)}, "umt5-encoder"),
        ({"encoder.token_embedding.weight": (4, 4), "encoder.blocks.0.norm1.weight": (4,)}, "umt5-encoder"),
        ({"shared.weight": (4, 4), "encoder.block.0.layer.0.SelfAttention.q.weight": (4, 4)}, "hf-umt5"),
        ({"vision_model.encoder.layers.0.mlp.fc1.weight": (4, 4)}, "clip"),
        ({"lora_unet_blocks_0_cross_attn_k.lora_down.weight": (4, 4)}, "lora"),
        ({"diffusion_model.blocks.0.cross_attn.k.lora_A.weight": (4, 4)}, "lora"),
        ({"blocks.0.attn2.to_k.weight": (4, 4)}, "diffusers"),
        ({"encoder.down_blocks.0.conv1.weight": (4, 4)}, "diffusers"),
        ({"something": (4,)}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_other_models_are_named(tmp_path: Path, shapes: dict[str, tuple[int, ...]], kind: str) -> None:
    assert inspect_weights(model(tmp_path / "file.safetensors", shapes)).kind == kind


def test_a_text_encoder_has_the_type_of_most_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "umt5.safetensors"
    write(path, {"token_embedding.weight": ("BF16", (9,), bytes(18)), "norm.weight": ("F32", (1,), bytes(4))}, {})
    assert inspect_weights(path).dtype == "bf16"


@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        (b"GGUF\x03\x00\x00\x00" + bytes(50), "gguf", "is a GGUF file"),
        (b"PK\x03\x04" + bytes(50), "torch-pickle", "is a PyTorch pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "damaged", "is a Git LFS pointer"),
        (b"", "damaged", "is empty"),
    ],
)
def test_files_that_are_no_safetensors_have_a_problem(tmp_path: Path, content: bytes, kind: str, problem: str) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    facts = inspect_weights(path)
    assert facts.kind == kind
    assert facts.problem.startswith(problem)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wan2.2_t2v_high_noise_14B_fp16.safetensors", ("wan-dit", "fp16", False, "t2v", "high")),
        ("wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors", ("wan-dit", None, True, "i2v", "low")),
        ("wan2.1_t2v_14B_fp8_e4m3fn.safetensors", ("wan-dit", "fp8_e4m3fn", False, "t2v", None)),
        ("wan2.1_i2v_720p_14B_bf16.safetensors", ("wan-dit", "bf16", False, "i2v", None)),
        ("Wan2_2-T2V-A14B_HIGH_fp8_e4m3fn_scaled_KJ.safetensors", ("wan-dit", "fp8_e4m3fn", True, "t2v", "high")),
        ("Wan2.2-T2V-A14B-HighNoise-Q8_0.gguf", ("gguf", None, False, "t2v", "high")),
        ("high_noise_model/diffusion_pytorch_model-00001-of-00006.safetensors", ("unknown", None, False, None, "high")),
        ("wan2.2_ti2v_5B_fp16.safetensors", ("wan22-5b-dit", "fp16", False, None, None)),
        ("wan_2.1_vae.safetensors", ("wan-vae", None, False, None, None)),
        ("Wan2_1_VAE_bf16.safetensors", ("wan-vae", "bf16", False, None, None)),
        ("wan2.2_vae.safetensors", ("wan22-5b-vae", None, False, None, None)),
        ("models_t5_umt5-xxl-enc-bf16.pth", ("umt5-encoder", "bf16", False, None, None)),
        ("umt5_xxl_fp8_e4m3fn_scaled.safetensors", ("hf-umt5", "fp8_e4m3fn", True, None, None)),
        ("highlights_of_the_slow_year.safetensors", ("unknown", None, False, None, None)),
    ],
)
def test_usual_names_are_understood(name: str, expected: tuple[object, ...]) -> None:
    facts = guess_from_name(Path(name))
    assert (facts.kind, facts.dtype, facts.fp8_scaled, facts.task, facts.expert) == expected
