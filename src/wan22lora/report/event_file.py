"""TensorBoard's event files, as far as scalars need them, written without TensorBoard.

A file is a series of TFRecords: the length (8 bytes), its masked CRC-32C, the data, their masked CRC-32C. The data are
protocol buffers: Event {1: wall_time double, 2: step int64, 3: file_version string, 5: Summary}, Summary {1: Value},
Value {1: tag string, 2: simple_value float}.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
"""Wire types."""
_POLYNOMIAL = 0x82F63B78
"""Of CRC-32C (Castagnoli), its bits reversed."""


@dataclass(frozen=True)
class Scalar:
    """One point of one curve."""

    wall_time: float
    """Unix seconds."""
    step: int
    tag: str
    value: float


def event_file(began: float, scalars: Iterable[Scalar]) -> bytes:
    """The content of a file that began at `began` (unix seconds)."""
    head = _field(1, _DOUBLE, struct.pack("<d", began)) + _text(3, "brain.Event:2")
    return b"".join(map(_record, (head, *map(_event, scalars))))


def write_event_file(path: Path, began: float, scalars: Iterable[Scalar]) -> None:
    """Makes the file there whole or not at all. A reader that follows it finds a longer one with the same beginning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # no reader takes it for an event file of its own
    temporary.write_bytes(event_file(began, scalars))
    temporary.replace(path)


def _event(scalar: Scalar) -> bytes:
    value = _text(1, scalar.tag) + _field(2, _FLOAT, struct.pack("<f", _within_float(scalar.value)))
    return (
        _field(1, _DOUBLE, struct.pack("<d", scalar.wall_time))
        + _field(2, _VARINT, _varint(scalar.step))
        + _nested(5, _nested(1, value))
    )


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _field(number: int, wire_type: int, payload: bytes) -> bytes:
    return _varint(number << 3 | wire_type) + payload


def _nested(number: int, payload: bytes) -> bytes:
    return _field(number, _BYTES, _varint(len(payload)) + payload)


def _text(number: int, text: str) -> bytes:
    return _nested(number, text.encode("utf-8"))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def _within_float(value: float) -> float:
    """A 32-bit number holds no more than this; a larger one could not be packed."""
    largest = 3.4028234663852886e38
    return value if value != value or abs(value) == float("inf") else max(-largest, min(largest, value))


def _crc_table() -> Iterator[int]:
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (_POLYNOMIAL if number & 1 else 0)
        yield number


_TABLE = tuple(_crc_table())


def crc32c(data: bytes) -> int:
    """CRC-32C, as in RFC 3720."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _masked_crc(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
