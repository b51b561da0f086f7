from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.musubi.safetensors import Header, NotSafetensors, TensorInfo, read_header, write

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8, "BOOL": 1}
Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


@st.composite
def tensor_sets(draw: st.DrawFn) -> Tensors:
    names = draw(st.lists(st.text(max_size=8).filter(lambda name: name != "__metadata__"), unique=True, max_size=4))
    tensors: Tensors = {}
    for name in names:
        dtype = draw(st.sampled_from(sorted(SIZES)))
        shape = tuple(draw(st.lists(st.integers(min_value=0, max_value=3), max_size=3)))
        count = SIZES[dtype] * prod(shape)
        tensors[name] = (dtype, shape, draw(st.binary(min_size=count, max_size=count)))
    return tensors


metadata_sets = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def refusal(path: Path, content: bytes) -> NotSafetensors:
    path.write_bytes(content)
    with pytest.raises(NotSafetensors) as caught:
        read_header(path)
    return caught.value


@given(tensors=tensor_sets(), metadata=metadata_sets)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, tensors: Tensors, metadata: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.safetensors"
    write(path, tensors, metadata)
    header = read_header(path)
    assert header.metadata == metadata
    assert header.size == path.stat().st_size
    assert {name: (info.dtype, info.shape) for name, info in header.tensors.items()} == {
        name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()
    }
    content = path.read_bytes()
    data = content[8 + struct.unpack("<Q", content[:8])[0] :]
    assert all(data[info.start : info.end] == tensors[name][2] for name, info in header.tensors.items())


@given(tensors=tensor_sets(), metadata=metadata_sets, where=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_every_truncation_is_detected(
    tmp_path_factory: pytest.TempPathFactory, tensors: Tensors, metadata: dict[str, str], where: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    write(path, tensors, metadata)
    content = path.read_bytes()
    kept = content[: int(where * len(content))]
    assert refusal(path, kept).nature == ("truncated" if kept else "empty")


def test_a_cut_file_says_how_long_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, {"a": ("F32", (1000,), bytes(4000))}, {})
    content = path.read_bytes()
    assert str(refusal(path, content[:-100])) == (
        f"is cut short: it has {len(content) - 100:,} bytes and it should have {len(content):,}; "
        "download or write it again"
    )


@pytest.mark.parametrize(
    ("content", "nature", "named"),
    [
        (b"", "empty", "is empty"),
        (b"GGUF\x03\x00\x00\x00" + bytes(100), "gguf", "GGUF"),
        (b"PK\x03\x04" + bytes(100), "torch-pickle", "PyTorch pickle"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + bytes(100), "torch-pickle", "PyTorch pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "lfs-pointer", "Git LFS pointer"),
        (b"<!DOCTYPE html><html><head></head></html>", "web-page", "web page"),
        (b"\n<html></html>" + bytes(10), "web-page", "web page"),
        (b"Entry not found", "damaged", "no safetensors file"),
        (struct.pack("<Q", 1 << 40) + b"{" + bytes(100), "damaged", "no safetensors file"),
        (bytes(20), "damaged", "no safetensors file"),
        (raw(b"{not json}"), "damaged", "no JSON"),
        (raw(b'{"\xff": 1}'), "damaged", "no JSON"),
        (raw(b"{" + b'"a":[' * 100_000), "damaged", "no JSON"),
        (raw({"__metadata__": {"a": 1}}), "damaged", "metadata"),
        (raw({"__metadata__": "a"}), "damaged", "metadata"),
        (raw({"a": 1}), "damaged", "'a' makes no sense"),
        (raw({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)), "damaged", "'a' makes no sense"),
        (raw({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "damaged", "makes no sense"),
        (raw({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)), "damaged", "makes no sense"),
        (raw({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}, bytes(4)), "damaged", "makes no sense"),
        (raw({"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}, bytes(2)), "damaged", "overlap or leave"),
        (raw({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, bytes(3)), "damaged", "2 bytes more"),
    ],
)
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, content: bytes, nature: str, named: str) -> None:
    error = refusal(tmp_path / "file", content)
    assert error.nature == nature
    assert named in error.reason


def test_a_header_of_640_bytes_is_not_taken_for_a_pickle(tmp_path: Path) -> None:
    """Its length is 0x0280 and starts with the bytes of an old pickle."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw(b"{}".ljust(640)))
    assert read_header(path) == Header({}, {}, 648)
    assert refusal(path, raw(b"{}".ljust(640))[:300]).nature == "truncated"


def test_a_padded_header_with_an_empty_and_a_scalar_tensor_is_read(tmp_path: Path) -> None:
    header = {
        "empty": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
        "scalar": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]},
        "packed": {"dtype": "F4", "shape": [4], "data_offsets": [2, 4]},
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw(json.dumps(header).encode() + b"   ", bytes(4)))
    assert read_header(path).tensors["scalar"] == TensorInfo("BF16", (), 0, 2)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, {"a": ("U8", (1,), b"1")}, {})
    with pytest.raises(ValueError, match="a: 1 bytes are not F32"):
        write(path, {"a": ("F32", (1,), b"1")}, {})
    assert list(tmp_path.iterdir()) == [path]
    assert "a" in read_header(path).tensors


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none.safetensors")
