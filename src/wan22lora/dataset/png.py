"""Whether a PNG is as it was written: every part of it carries a checksum, which takes a hundredth of decoding it."""

from __future__ import annotations

import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AROUND = 12
"""Bytes of a part beside its data: length, name, checksum."""


def png_damage(data: bytes) -> str:
    """What is wrong with the parts of a PNG, from its signature to its end; empty where nothing is.

    Bytes that follow the end are nobody's.
    """
    if not data.startswith(SIGNATURE):
        return "not a PNG"
    view = memoryview(data)
    at = len(SIGNATURE)
    while at + _AROUND <= len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        end = at + _AROUND + length
        if end > len(data):
            break
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            return "a checksum is wrong"
        if data[at + 4 : at + 8] == b"IEND":
            return ""
        at = end
    return "cut off"
