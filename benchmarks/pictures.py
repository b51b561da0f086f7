"""Folders of pictures of any size and number, made quickly, each another one, which compress as photographs do.

One of 960² takes about 1.6 MB as PNG and 150 kB as JPEG of quality 92. Each is put together from strips of the few
that are drawn, a PNG without compressing anything anew.
"""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

MASTERS, STRIPS, SHAPES = 24, 8, 40
GRAIN = 4.0
"""Standard deviation of the noise in each colour, of 255, before it is softened as a camera's is."""


def drawn(side: int, seed: int) -> Image.Image:
    """Something with edges, gradients and grain. The same for the same seed but for the grain."""
    chance = random.Random(seed)
    picture = Image.radial_gradient("L").resize((side, side)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for _ in range(SHAPES):
        x, y = chance.randrange(side), chance.randrange(side)
        box = (x, y, x + chance.randrange(side // 2), y + chance.randrange(side // 2))
        draw.ellipse(box, fill=(chance.randrange(256), chance.randrange(256), chance.randrange(256)))
    grain = Image.merge("RGB", [Image.effect_noise((side, side), GRAIN) for _ in range(3)])
    softened = grain.filter(ImageFilter.GaussianBlur(0.5))
    return ImageChops.add(picture.filter(ImageFilter.GaussianBlur(2)), softened, offset=-128)


@dataclass(frozen=True)
class Strip:
    """A part of a picture over its whole width, as pixels and as it stands in a PNG."""

    picture: Image.Image
    filtered: bytes
    deflated: bytes
    """`filtered`, so compressed that strips can follow one another."""


def strips_of(picture: Image.Image) -> list[Strip]:
    width, height = picture.size
    strips = []
    for index in range(STRIPS):
        part = picture.crop((0, height * index // STRIPS, width, height * (index + 1) // STRIPS))
        encoded = BytesIO()
        part.save(encoded, "PNG")
        filtered = zlib.decompress(b"".join(data for kind, data in _chunks(encoded.getvalue()) if kind == b"IDAT"))
        row = 1 + 3 * width
        # The first row may refer to nothing above it, since another strip will be there.
        filtered = b"\0" + part.crop((0, 0, width, 1)).tobytes() + filtered[row:]
        squeezer = zlib.compressobj(6, zlib.DEFLATED, -15)
        strips.append(Strip(part, filtered, squeezer.compress(filtered) + squeezer.flush(zlib.Z_FULL_FLUSH)))
    return strips


def fill(folder: Path, count: int, side: int, endings: tuple[str, ...] = ("jpg", "png")) -> int:
    """Writes that many pictures with captions, of each ending as many, and returns their bytes."""
    folder.mkdir(exist_ok=True)
    masters = [strips_of(drawn(side, seed)) for seed in range(min(count, MASTERS))]
    chance = random.Random(0)
    total = 0
    for index in range(count):
        strips = [chance.choice(masters)[at] for at in range(STRIPS)]
        ending = endings[index % len(endings)]
        data = _png(strips, side) if ending == "png" else _encoded(strips, side, ending)
        (folder / f"{index:05d}.{ending}").write_bytes(data)
        (folder / f"{index:05d}.txt").write_text(f"paperworld, picture {index}\n", encoding="utf-8")
        total += len(data)
    return total


def fill_apart(folder: Path, count: int, side: int, endings: tuple[str, ...] = ("jpg", "png")) -> int:
    """The same, in a process of its own, whose memory would count as that of every program started later."""
    command = [sys.executable, __file__, str(folder), str(count), str(side), *endings]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _encoded(strips: list[Strip], side: int, ending: str) -> bytes:
    picture = Image.new("RGB", (side, side))
    for index, strip in enumerate(strips):
        picture.paste(strip.picture, (0, side * index // STRIPS))
    data = BytesIO()
    picture.save(data, "JPEG" if ending == "jpg" else ending.upper(), quality=92)
    return data.getvalue()


def _png(strips: list[Strip], side: int) -> bytes:
    adler = 1
    for strip in strips:
        adler = zlib.adler32(strip.filtered, adler)
    deflated = b"\x78\x9c" + b"".join(strip.deflated for strip in strips) + b"\x03\x00" + struct.pack(">I", adler)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pieces = [deflated[at : at + 65536] for at in range(0, len(deflated), 65536)]
    parts = [(b"IHDR", header), *((b"IDAT", piece) for piece in pieces), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def _chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


if __name__ == "__main__":
    print(fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), tuple(sys.argv[4:])))
