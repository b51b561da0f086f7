"""What a model file really is, told from its header alone, or guessed from its name while it is not there yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wan22lora.musubi.safetensors import NotSafetensors, TensorInfo, read_header

Kind = Literal[
    "wan-dit",  # Wan's diffusion model, as musubi reads it
    "wan22-5b-dit",  # that of the 5B model, which musubi does not train
    "wan-vae",  # the VAE of Wan 2.1, of which Wan 2.2's 14B models make use too
    "wan22-5b-vae",
    "umt5-encoder",  # the text encoder in Wan's own layout, as musubi reads it
    "hf-umt5",  # the same in Hugging Face's and ComfyUI's layout
    "clip",
    "lora",
    "diffusers",  # any model in diffusers' layout
    "gguf",
    "torch-pickle",  # a .pth or .pt file; what is in it is not looked at
    "damaged",
    "unknown",
]
Dtype = Literal["fp32", "fp16", "bf16", "fp8_e4m3fn", "fp8_e5m2"]

_DTYPES: Mapping[str, Dtype] = {
    "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8_e4m3fn", "F8_E5M2": "fp8_e5m2"
}  # fmt: skip
_PREFIX = "model.diffusion_model."
_DTYPE_KEY = "blocks.0.cross_attn.k.weight"  # wan/modules/model.py:963-976 looks at no other
_SCALE_ENDINGS = ("scale_weight", "scaled_fp8", "weight_scale", "comfy_quant")
_DIFFUSERS_MARKS = (".attn2.to_k.weight", "condition_embedder.", "quant_conv.", ".down_blocks.", "vision_model.")


@dataclass(frozen=True)
class WeightsFacts:
    """What is known of a model file. None means that the header, or the name, does not tell."""

    kind: Kind
    dtype: Dtype | None = None
    """The type that musubi compares with mixed precision, in run.yaml's words."""
    fp8_scaled: bool = False
    """ComfyUI's scaled fp8, which musubi cannot load in any mode."""
    has_k_img: bool = False
    """Only Wan 2.1's image-to-video models have these tensors."""
    layers: int | None = None
    """Transformer blocks: 40 in the 14B models, 30 in the 1.3B one."""
    task: Literal["t2v", "i2v"] | None = None
    expert: Literal["high", "low"] | None = None
    """From the file's name: the two experts' files have the same tensors, so nothing else tells them apart."""
    shard: tuple[int, int] | None = None
    """(2, 6) for a file called …-00002-of-00006. musubi wants the first and finds the others."""
    problem: str = ""
    """Why the file cannot be used, reading on after its name."""


def inspect_weights(path: Path) -> WeightsFacts:
    """Facts from the header; reads no tensor. OSError when the file is missing or cannot be read."""
    name = guess_from_name(path)
    try:
        tensors = read_header(path).tensors
    except NotSafetensors as error:
        kind: Kind = error.nature if error.nature in ("gguf", "torch-pickle") else "damaged"
        return WeightsFacts(kind, problem=error.reason, shard=name.shard)
    tensors = {key.removeprefix(_PREFIX): info for key, info in tensors.items()}
    kind = _kind(tensors)
    if kind not in ("wan-dit", "wan22-5b-dit"):
        return WeightsFacts(kind, dtype=_commonest_dtype(tensors), fp8_scaled=_is_scaled(tensors), shard=name.shard)
    tasks: Mapping[int | None, Literal["t2v", "i2v"]] = {16: "t2v", 36: "i2v"}
    return WeightsFacts(
        kind,
        dtype=_DTYPES.get(tensors[_DTYPE_KEY].dtype) if _DTYPE_KEY in tensors else None,
        fp8_scaled=_is_scaled(tensors),
        has_k_img=any(".k_img." in key for key in tensors),
        layers=_layers(tensors),
        task=tasks.get(_in_channels(tensors)),
        expert=name.expert,
        shard=name.shard,
    )


def guess_from_name(path: Path) -> WeightsFacts:
    """What files of that name usually are (Wan-AI, Comfy-Org and Kijai on the Hugging Face Hub)."""
    name = path.name.lower()
    words = set(re.split(r"[^a-z0-9]+", name))
    shard = re.search(r"(\d+)-of-(\d+)\.safetensors$", name)
    dtype = re.search(r"fp8_e[45]m[23](?=fn|_|\.|$)|bf16|fp16|fp32", name)
    is_dit = bool(words & {"t2v", "i2v", "ti2v"}) or "noise" in name
    return WeightsFacts(
        kind=_kind_from_name(name, words, is_dit),
        dtype=_dtype_named(dtype.group()) if dtype else None,
        fp8_scaled="fp8" in name and "scaled" in words,
        task="i2v" if "i2v" in words else "t2v" if "t2v" in words else None,
        expert=_expert_named(name) or _expert_named(path.parent.name.lower()),  # Wan-AI: high_noise_model/…
        shard=(int(shard[1]), int(shard[2])) if shard else None,
    )


def _kind_from_name(name: str, words: set[str], is_dit: bool) -> Kind:
    if name.endswith(".gguf"):
        return "gguf"
    if "umt5" in words or "t5" in words:
        return "umt5-encoder" if "enc" in words else "hf-umt5"
    if "vae" in words:
        return "wan22-5b-vae" if re.search(r"wan_?2[._]2", name) else "wan-vae"
    if "clip" in words:
        return "clip"
    if "lora" in words:
        return "lora"
    if "5b" in words:
        return "wan22-5b-dit"
    return "wan-dit" if is_dit else "unknown"


def _expert_named(text: str) -> Literal["high", "low"] | None:
    if re.search(r"(?<![a-z])high(?=noise|[^a-z]|$)", text):
        return "high"
    return "low" if re.search(r"(?<![a-z])low(?=noise|[^a-z]|$)", text) else None


def _dtype_named(text: str) -> Dtype:
    names: Mapping[str, Dtype] = {"fp8_e4m3": "fp8_e4m3fn", "fp8_e5m2": "fp8_e5m2", "bf16": "bf16", "fp16": "fp16"}
    return names.get(text, "fp32")


def _kind(tensors: Mapping[str, TensorInfo]) -> Kind:
    if any(".lora_down." in key or ".lora_up." in key or ".lora_A." in key for key in tensors):
        return "lora"
    if _DTYPE_KEY in tensors or any(".cross_attn.k." in key for key in tensors):
        return "wan22-5b-dit" if _in_channels(tensors) == 48 else "wan-dit"
    first_convolution = tensors.get("encoder.conv1.weight")
    if first_convolution is not None and "decoder.conv1.weight" in tensors:
        return "wan-vae" if first_convolution.shape[1:2] == (3,) else "wan22-5b-vae"
    bare = {key.removeprefix("encoder.") for key in tensors}  # musubi drops this prefix too (wan/modules/t5.py:484)
    if {"token_embedding.weight", "blocks.0.norm1.weight"} <= bare:
        return "umt5-encoder"
    if any(".SelfAttention." in key for key in tensors):
        return "hf-umt5"
    if any(key.startswith(("visual.", "vision_model.")) for key in tensors):
        return "clip"
    if any(mark in key for key in tensors for mark in _DIFFUSERS_MARKS):
        return "diffusers"
    return "unknown"


def _in_channels(tensors: Mapping[str, TensorInfo]) -> int | None:
    """16 text-to-video, 36 image-to-video, 48 the 5B model."""
    patches = tensors.get("patch_embedding.weight")
    return patches.shape[1] if patches is not None and len(patches.shape) > 1 else None


def _layers(tensors: Mapping[str, TensorInfo]) -> int | None:
    numbers = [int(found[1]) for key in tensors if (found := re.match(r"blocks\.(\d+)\.", key))]
    return max(numbers) + 1 if numbers else None


def _is_scaled(tensors: Mapping[str, TensorInfo]) -> bool:
    return any(key.endswith(_SCALE_ENDINGS) for key in tensors)


def _commonest_dtype(tensors: Mapping[str, TensorInfo]) -> Dtype | None:
    bytes_per_dtype: dict[str, int] = {}
    for info in tensors.values():
        bytes_per_dtype[info.dtype] = bytes_per_dtype.get(info.dtype, 0) + info.end - info.start
    return _DTYPES.get(max(bytes_per_dtype, key=bytes_per_dtype.__getitem__, default=""))
