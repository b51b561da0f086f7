"""Small safetensors files with the dtypes by which torch calls them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from wan22lora.musubi.safetensors import write
from wan22lora.rehearsal.session import MARK

_NAMES = {
    "bfloat16": ("bf16", "bfloat16"),
    "float16": ("fp16", "float16"),
    "float32": ("fp32", "float32", "float"),
}
_STORED = {"bfloat16": ("BF16", 2), "float16": ("F16", 2), "float32": ("F32", 4)}


def dtype_named(name: str) -> str:
    """torch's name of a dtype given on the command line (utils/model_utils.py:98-160). Raises ValueError."""
    for dtype, names in _NAMES.items():
        if name in names:
            return dtype
    raise ValueError(f"Unsupported dtype: {name}")


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata alone, whatever became of the tensors. Raises struct.error or JSONDecodeError for half a header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        metadata: dict[str, str] = json.loads(file.read(length))["__metadata__"]
    return metadata


def write_tiny(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str,
    metadata: Mapping[str, str],
    contents: Callable[[str, tuple[int, ...]], bytes] | None = None,
) -> None:
    """A file marked as a rehearsal's, of zeros or of what `contents` gives for a safetensors dtype and a shape."""
    stored, size = _STORED[dtype]
    data = contents or (lambda _, shape: bytes(size * math.prod(shape)))
    tensors = {key: (stored, shape, data(stored, shape)) for key, shape in shapes.items()}
    write(path, tensors, {**metadata, **MARK})
