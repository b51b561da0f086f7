"""What a file really is, and whether it can serve as one of the catalogue's."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from wan22lora.models.catalogue import ModelFile
from wan22lora.musubi.weights import Kind, WeightsFacts, inspect_weights

_KINDS: Mapping[Kind, str] = {
    "wan-dit": "is one of Wan's experts",
    "wan22-5b-dit": "is the 5B model of Wan 2.2, which musubi does not train",
    "wan-vae": "is the VAE",
    "wan22-5b-vae": "is the VAE of Wan 2.2's 5B model; the A14B experts use that of Wan 2.1",
    "umt5-encoder": "is the text encoder",
    "hf-umt5": "is the text encoder in Hugging Face's or ComfyUI's layout, which musubi does not read",
    "lora": "is a LoRA",
    "clip": "is a CLIP model",
    "diffusers": "is a model in diffusers' layout, which musubi does not read",
    "gguf": "is a GGUF file, which musubi-tuner cannot read",
    "torch-pickle": "is a PyTorch pickle (.pth, .pt)",
}
_WAN21_NAME = re.compile(r"wan_?2[._]?1(?!\d)")


def what_it_is(facts: WeightsFacts) -> str:
    """One clause that reads on after the file's name."""
    return facts.problem or _KINDS.get(facts.kind, "is no model that musubi reads here")


def what_is_wrong(file: ModelFile, path: Path) -> str:
    """Why the file at `path` cannot serve as `file`, reading on after its name; empty when nothing speaks against it.

    Looks at headers and names only. OSError when it cannot be read.
    """
    if file.role == "tokenizer":
        return _wrong_size(file, path.stat().st_size)
    facts = inspect_weights(path)
    if file.role in ("vae", "t5"):
        return _wrong_part(file, path, facts)
    return _wrong_expert(file, path, facts)


def _wrong_part(file: ModelFile, path: Path, facts: WeightsFacts) -> str:
    wanted: Kind = "wan-vae" if file.role == "vae" else "umt5-encoder"
    if facts.kind == "torch-pickle":
        return _wrong_pickle(file, path)
    return "" if facts.kind == wanted else what_it_is(facts)


def _wrong_pickle(file: ModelFile, path: Path) -> str:
    """A pickle's tensors are not looked at, but torch writes a ZIP archive, whose table stands at its end."""
    size = path.stat().st_size
    with path.open("rb") as start:
        archive = start.read(4) == b"PK\x03\x04"
    if archive and not zipfile.is_zipfile(path):
        return f"is cut short: it has {size:,} bytes and no end; download it again"
    return _wrong_size(file, size) if path.name == file.file_name and not archive else ""


def _wrong_size(file: ModelFile, size: int) -> str:
    return "" if size == file.size else f"has {size:,} bytes, the one on the hub {file.size:,}"


def _wrong_expert(file: ModelFile, path: Path, facts: WeightsFacts) -> str:
    if facts.fp8_scaled:
        return "is an fp8_scaled file, which musubi cannot train on in any mode"
    if facts.kind != "wan-dit":
        return what_it_is(facts)
    if facts.has_k_img:
        return "is Wan 2.1's image-to-video model"
    if facts.layers == 30:
        return "is the 1.3B model"
    wanted = "i2v" if "i2v-A14B" in file.tasks else "t2v"
    if facts.task is not None and facts.task != wanted:
        names = {"t2v": "text-to-video", "i2v": "image-to-video"}
        return f"is an expert for {names[facts.task]}, and {file.tasks[0]} is {names[wanted]}"
    if facts.expert is not None and facts.expert != file.role:
        return f"is the {facts.expert}-noise expert by its name; its header could not tell"
    if file.role in ("high", "low") and _WAN21_NAME.search(path.name.lower()):
        return "is a model of Wan 2.1 by its name; its header could not tell"
    return ""
