"""The units inside the packets of H.264 and H.265 in MP4, read just far enough to trust a frame count."""

from __future__ import annotations


def length_width(record: bytes | None, *, hevc: bool) -> int | None:
    """Bytes that the length before each unit takes, from the codec's configuration record; None without one.

    Source: ISO/IEC 14496-15, avcC and hvcC, field lengthSizeMinusOne.
    """
    at = 21 if hevc else 4
    if record is None or len(record) <= at or record[0] != 1:
        return None
    return (record[at] & 3) + 1


def picture_units(packet: bytes, width: int, *, hevc: bool) -> list[int]:
    """Types of the units that carry picture data; empty when the lengths do not add up to the packet."""
    kinds = []
    position = 0
    while position < len(packet):
        start = position + width
        length = int.from_bytes(packet[position:start], "big")
        if length == 0 or start + length > len(packet):
            return []
        kind = packet[start] >> 1 & 0x3F if hevc else packet[start] & 0x1F
        if (hevc and kind < 32) or (not hevc and 1 <= kind <= 5):
            kinds.append(kind)
        position = start + length
    return kinds


def starts_afresh(kinds: list[int], *, hevc: bool) -> bool:
    """True for an IDR picture, before which nothing is needed, so that the decoder drops nothing after it."""
    return bool(kinds) and kinds[0] in ((19, 20) if hevc else (5,))
