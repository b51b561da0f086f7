"""Text of a file that somebody else wrote."""

from __future__ import annotations

import codecs

_BINARY = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"PK\x03\x04", b"%PDF", b"\x7fELF", b"BM")
_SAMPLE = 1_000


def decoded(content: bytes) -> str | None:
    """The text; None for what is none. UTF-8 and UTF-16 with or without a byte order mark, else Windows-1252."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _as(content, "utf-16")
    if content.startswith(_BINARY) and b"\0" in content:
        return None
    if b"\0" in content:
        sample = content[:_SAMPLE]
        little, big = sample[1::2].count(0), sample[::2].count(0)
        if len(content) % 2 or max(little, big) < len(sample) // 4:
            return None
        return _as(content, "utf-16-le" if little > big else "utf-16-be")
    return _as(content, "utf-8-sig") or _as(content, "cp1252")


def _as(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding).lstrip("\ufeff")
    except UnicodeDecodeError:
        return None
