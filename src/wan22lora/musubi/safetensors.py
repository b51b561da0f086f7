"""The safetensors format: 8 bytes of length, a JSON header of that length, the tensors' bytes.

Only headers are read here, so a look at a 28 GB model costs a few milliseconds.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Literal

MAX_HEADER = 100_000_000
"""Bytes; the reference implementation refuses longer headers too."""

_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

Nature = Literal["truncated", "damaged", "empty", "gguf", "torch-pickle", "lfs-pointer", "web-page"]


class NotSafetensors(ValueError):
    """The file is no whole safetensors file; `reason` reads on after its name, `nature` is for programs."""

    def __init__(self, reason: str, nature: Nature = "damaged") -> None:
        super().__init__(reason)
        self.reason = reason
        self.nature = nature


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: type as safetensors spells it (F16, BF16, F8_E4M3 …), and its bytes counted from the data's start."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file contains; `size` is that of the whole file in bytes."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    size: int


def read_header(path: Path) -> Header:
    """The header, checked against the file's length.

    Raises NotSafetensors for anything but a whole safetensors file, OSError when it cannot be read at all.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        text, data_size = _header_text(file, size)
    try:
        raw = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise NotSafetensors("has a safetensors header that is no JSON") from None
    if not isinstance(raw, dict):
        raise NotSafetensors("has a safetensors header that is no JSON object")
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise NotSafetensors("has metadata that are not texts")
    tensors = {name: _tensor(name, entry) for name, entry in raw.items()}
    _check_layout(tensors, data_size, size)
    return Header(tensors, metadata, size)


def write(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]], metadata: Mapping[str, str]) -> None:
    """A safetensors file of (dtype, shape, little-endian bytes) per tensor; it appears whole or not at all."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, (dtype, shape, data) in tensors.items():
        if _byte_count(dtype, shape) != len(data):
            raise ValueError(f"{name}: {len(data)} bytes are not {dtype} of shape {shape}")
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + len(data)]}
        start += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(f".{os.getpid()}.part")  # short: the name itself may be as long as the file system allows
    try:
        with partial.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, _, data in tensors.values():
                file.write(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _header_text(file: BinaryIO, size: int) -> tuple[bytes, int]:
    """The header's bytes and how many bytes of data follow it."""
    start = file.read(512)
    length = struct.unpack("<Q", start[:8])[0] if size >= 8 else None
    if length is None or not 0 < length <= MAX_HEADER or start[8:9] not in (b"{", b""):
        raise _something_else(start, size)
    if 8 + length > size:
        raise _cut_short(size, f"its header alone ends at byte {8 + length:,}")
    file.seek(8)
    return file.read(length), size - 8 - length


def _something_else(start: bytes, size: int) -> NotSafetensors:
    text = start.lstrip().lower()
    if not size:
        return NotSafetensors("is empty", "empty")
    if start.startswith(b"GGUF"):
        return NotSafetensors("is a GGUF file, which musubi-tuner cannot read", "gguf")
    if start.startswith(b"PK\x03\x04") or start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return NotSafetensors("is a PyTorch pickle (.pth, .pt, .ckpt), not a safetensors file", "torch-pickle")
    if start.startswith(b"version https://git-lfs"):
        return NotSafetensors("is a Git LFS pointer of a few lines; the real file was not downloaded", "lfs-pointer")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return NotSafetensors("is a web page: the download got an error or a login page", "web-page")
    if size < 9:
        return _cut_short(size, "even an empty safetensors file is longer")
    return NotSafetensors("is no safetensors file: it does not start with the length of a header")


def _tensor(name: str, entry: object) -> TensorInfo:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]  # type: ignore[index]
        plausible = all(type(number) is int and number >= 0 for number in (*shape, start, end))
        if plausible and _byte_count(dtype, shape) == end - start:
            return TensorInfo(dtype, shape, start, end)
    except (KeyError, TypeError, ValueError):
        pass
    raise NotSafetensors(f"has a damaged header: the entry of {name!r} makes no sense")


def _byte_count(dtype: str, shape: tuple[int, ...]) -> int:
    return -(-_BITS[dtype] * prod(shape) // 8)


def _check_layout(tensors: Mapping[str, TensorInfo], data_size: int, size: int) -> None:
    end = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != end:
            raise NotSafetensors("has a damaged header: its tensors overlap or leave gaps")
        end = tensor.end
    if end > data_size:
        raise _cut_short(size, f"it should have {size + end - data_size:,}")
    if end < data_size:
        raise NotSafetensors(f"has {data_size - end:,} bytes more than its header says")


def _cut_short(size: int, why: str) -> NotSafetensors:
    return NotSafetensors(f"is cut short: it has {size:,} bytes and {why}; download or write it again", "truncated")
