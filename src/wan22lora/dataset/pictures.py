"""Size of a picture from its header, and whether its end is there, without decoding it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


class UnreadableError(Exception):
    """A picture or clip cannot be read; the message says why in a few words."""


@dataclass(frozen=True)
class Picture:
    size: tuple[int, int]
    """Stored width and height in pixels."""
    turned: bool
    """True when an EXIF tag asks for a rotation or mirroring, which musubi-tuner does not apply."""
    deep_grey: bool = False
    """True for grey in more than 8 bits: `convert("RGB")` makes everything above 255 white."""


def read_picture(path: str | Path) -> Picture:
    """Header of a picture. One whose end looks cut off is decoded, because musubi-tuner would stop there.

    Raises UnreadableError.
    """
    from PIL import Image

    if not os.path.isfile(path):  # noqa: PTH113 - a pipe would be waited for without end
        raise UnreadableError(_no_file(path))
    try:
        with open(path, "rb") as file, Image.open(file) as picture:  # noqa: PTH123
            refuse_programs(picture)
            size = picture.size
            turned = _is_turned(picture)
            deep_grey = picture.mode.startswith(("I", "F"))
            if not _ends_well(file, picture.format):
                file.seek(0)
                with Image.open(file) as again:
                    again.load()
    except OSError as problem:
        raise UnreadableError(problem.strerror or _plain(problem)) from problem
    except Exception as problem:  # Pillow's decoders raise SyntaxError, ValueError, struct.error and more
        raise UnreadableError(_plain(problem)) from problem
    return Picture(size, turned, deep_grey)


def refuse_programs(picture: Image.Image) -> None:
    """Raises UnreadableError for a format that Pillow leaves to another program, whatever its file is called."""
    if picture.format == "EPS":
        raise UnreadableError("a PostScript file, which is run as a program to be drawn")


def _no_file(path: str | Path) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as problem:
        return getattr(problem, "strerror", None) or str(problem)
    return "a folder" if stat.S_ISDIR(found.st_mode) else "no file, but a pipe or a device"


def _plain(problem: Exception) -> str:
    text = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    return "not a picture that can be read" if text.startswith("cannot identify image file") else text


def _is_turned(picture: Image.Image) -> bool:
    from PIL import Image

    # getexif() would decode a PNG to look behind its pixels.
    raw = picture.info.get("exif")
    if not isinstance(raw, bytes):
        return False
    exif = Image.Exif()
    try:
        exif.load(raw)
    except Exception:  # damaged EXIF harms nobody: musubi-tuner does not read it
        return False
    return exif.get(_ORIENTATION, 1) not in (0, 1)


def _ends_well(file: IO[bytes], form: str | None) -> bool:
    """False when the last bytes are not those of a complete file; some complete files fail this too."""
    length = file.seek(0, os.SEEK_END)
    if form == "PNG":
        return _tail(file, length, len(_PNG_END)) == _PNG_END
    if form in ("JPEG", "MPO"):
        return _tail(file, length, 2) == b"\xff\xd9"
    if form in ("WEBP", "BMP"):
        file.seek(0)
        head = file.read(8)
        field, header = (head[4:8], 8) if form == "WEBP" else (head[2:6], 0)
        return length >= header + int.from_bytes(field, "little") > 0
    return True


def _tail(file: IO[bytes], length: int, count: int) -> bytes:
    file.seek(max(0, length - count))
    return file.read(count)
