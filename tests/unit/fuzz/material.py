"""Small real files of every format, names that nobody should use, and ways to break both; all from one generator."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import stat
import struct
import tempfile
import zipfile
import zlib
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".PNG", ".gif", ".tif", ".Png", ".jxl")
CLIPS = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".flv", ".wmv", ".m4v", ".mpg", ".MP4", ".ts")
STEMS = (
    "a", "a1", "002", "zxq 1", "ü", "写真", "a\nb", "a\tb", "a\rb", "\x1b[31mred\x07", "\u202egnp.exe", "[a]", "*", "?",
    "a.b.c", "a.", "a ", " a", "...", "-rf", "--help", "$(reboot)", "%s%n", "{0}", "'\"`", "\\", "con", "e\u0301",
    "👩‍👩‍👧", "a" * 200, "é" * 120, "a_0064x0048_wan", "a_wan_te", "__MACOSX", "._a", ".a", "~", "#", "a=b",
    "<b>&amp;</b>", "</script><script>alert(1)</script>", "\x7f", "\ufeff", "\u2028",
)  # fmt: skip
BYTES = (b"\xff\xfe", b"\xc3", b"a\xed\xa0\x80", b"caf\xe9")
"""Stems that are no text."""
WORDS = (
    "zxq",
    "a bird",
    "",
    " ",
    "\ufeff",
    "\0",
    "\ud83d",
    "watermark",
    "a" * 5000,
    "鳥" * 800,
    "\r\n",
    "{trigger}",
    "\x1b[2J",
)
EDGES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
OUTSIDE = (
    "../outside",
    "/dev/zero",
    "/dev/null",
    "/dev/full",
    "/proc/self/mem",
    "/",
    "..",
    ".",
    "nowhere",
    "../outside/secret.png",
)


@lru_cache(maxsize=1)
def pictures() -> tuple[bytes, ...]:
    """Of every format that Pillow writes, in several modes."""
    chance = random.Random(0)
    picture = Image.frombytes("RGB", (48, 32), chance.randbytes(48 * 32 * 3)).resize((64, 48))
    second = picture.rotate(90).resize((64, 48))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    wanted: list[tuple[str, str, dict[str, Any]]] = [
        ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {"transparency": 0}), ("PNG", "I;16", {}),
        ("PNG", "1", {}),
        ("PNG", "LA", {"exif": exif}), ("PNG", "RGB", {"save_all": True, "append_images": [second]}),
        ("JPEG", "RGB", {"exif": exif}), ("JPEG", "L", {"progressive": True}), ("JPEG", "CMYK", {}),
        ("MPO", "RGB", {"save_all": True, "append_images": [second]}), ("WEBP", "RGB", {"exif": exif}),
        ("WEBP", "RGBA", {"lossless": True}), ("WEBP", "RGB", {"save_all": True, "append_images": [second]}),
        ("GIF", "P", {"save_all": True, "append_images": [second.convert("P")]}), ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "CMYK", {"compression": "jpeg"}), ("TIFF", "F", {}),
        ("BMP", "RGB", {}), ("BMP", "P", {}), ("AVIF", "RGB", {}), ("ICO", "RGBA", {}), ("PPM", "RGB", {}),
        ("TGA", "RGB", {"compression": "tga_rle"}), ("JPEG2000", "RGB", {}), ("EPS", "RGB", {}), ("PCX", "RGB", {}),
        ("SGI", "RGB", {}), ("DDS", "RGB", {}), ("QOI", "RGB", {}), ("IM", "RGB", {}), ("XBM", "1", {}),
        ("MSP", "1", {}),
        ("SPIDER", "F", {}), ("BLP", "P", {}), ("PDF", "RGB", {}),
    ]  # fmt: skip
    made = []
    for form, mode, options in wanted:
        data = io.BytesIO()
        with suppress(OSError, KeyError, ValueError):  # a Pillow that was built without it
            (picture.convert("L") if mode == "I;16" else picture).convert(mode).save(data, form, **options)
            made.append(data.getvalue())
    return tuple(made)


@lru_cache(maxsize=1)
def clips() -> tuple[bytes, ...]:
    """Of the containers and codecs that people have."""
    import av

    as_frame: Any = av.VideoFrame.from_image
    made = []
    for ending, codec in (
        ("mp4", "libx264"), ("mp4", "libx265"), ("mov", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx-vp9"),
        ("avi", "mpeg4"), ("flv", "flv"), ("wmv", "wmv2"), ("mpg", "mpeg1video"), ("ts", "mpeg2video"), ("gif", "gif"),
        ("mkv", "ffv1"), ("avi", "mjpeg"),
    ):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder, suppress(av.FFmpegError, ValueError):
            path = Path(folder) / f"a.{ending}"
            with av.open(str(path), "w") as container:
                stream: Any = container.add_stream(codec, rate=Fraction(24))
                stream.width, stream.height = 64, 48
                stream.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
                stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
                for index in range(6):
                    image: Any = Image.new("RGB", (64, 48), (index * 40, 90, 60))
                    container.mux(stream.encode(as_frame(image)))
                container.mux(stream.encode(None))
            made.append(path.read_bytes())
    return tuple(made)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes flipped, cut, put in or set to an edge; sometimes with the checksums of a PNG made right again."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = (
            chance.randrange(len(changed) + 1) if chance.random() < 0.6 else chance.randrange(min(64, len(changed) + 1))
        )
        kind = chance.randrange(7)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 2:
            changed[at:at] = chance.randbytes(chance.randrange(1, 40))
        elif kind == 3:
            del changed[at : at + chance.randrange(1, 40)]
        elif kind == 4:
            edge = chance.choice(EDGES)
            changed[at : at + 4] = struct.pack(chance.choice(("<I", ">I")), edge)
        elif kind == 5:
            piece = changed[at : at + chance.randrange(1, 200)]
            changed[at:at] = piece
        elif chance.random() < 0.3:
            del changed[at:]
    whole = bytes(changed)
    return with_checksums(whole) if whole.startswith(b"\x89PNG") and chance.random() < 0.5 else whole


def with_checksums(png: bytes) -> bytes:
    """The same parts, as far as their lengths are believable, each with the checksum that it should have."""
    made, at = bytearray(png[:8]), 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            break
        made += png[at:end] + struct.pack(">I", zlib.crc32(png[at + 4 : end]))
        at = end + 4
    return bytes(made) + png[at:]


def bomb(chance: random.Random) -> bytes:
    """A small file that says it is a huge picture."""
    width, height = chance.choice(
        ((60_000, 60_000), (13_000, 13_000), (1, 2**31 - 1), (2**31 - 1, 1), (0, 0), (40_000, 3))
    )
    header = struct.pack(">IIBBBBB", width, height, chance.choice((1, 8, 16)), chance.choice((0, 2, 3, 4, 6)), 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    if chance.random() < 0.3:
        parts.insert(1, (b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000))))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def media(chance: random.Random, *, clip: bool) -> bytes:
    kind = chance.random()
    whole = chance.choice(clips() if clip else pictures())
    if kind < 0.1:
        return chance.randbytes(chance.choice((0, 1, 20, 500)))
    if kind < 0.2:
        return whole[: chance.randrange(1, 40)] + chance.randbytes(chance.randrange(300))
    if kind < 0.27:
        return bomb(chance)
    if kind < 0.4:
        return whole
    if kind < 0.45:
        return chance.choice(pictures() if clip else clips())
    return mutated(whole, chance)


def name(chance: random.Random, endings: tuple[str, ...]) -> str:
    if chance.random() < 0.06:
        stem = os.fsdecode(chance.choice(BYTES))
    else:
        stem = chance.choice(STEMS) if chance.random() < 0.5 else f"p{chance.randrange(6)}"
    return stem + chance.choice(endings)


def caption(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.15:
        return chance.randbytes(chance.randrange(60))
    text = " ".join(chance.choice(WORDS) for _ in range(chance.randrange(5)))
    if kind < 0.22:
        return text.encode("utf-16", "surrogatepass")
    return text.encode("utf-8", "surrogatepass")


def put(path: Path, data: bytes) -> None:
    """A file, unless something bears its name already or the file system has no such names."""
    with suppress(OSError, ValueError):
        if not os.path.lexists(path):
            path.write_bytes(data)


def special(path: Path, chance: random.Random) -> None:
    """A pipe, a socket, a link, a folder or a device in the place of a file, where the system lets us make one."""
    kind = chance.randrange(7)
    with suppress(OSError, ValueError):
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        elif kind == 2:
            path.symlink_to(path.name)
        elif kind == 3:
            path.mkdir()
            (path / "inside.png").write_bytes(media(chance, clip=False))
        elif kind == 4:
            os.mknod(path, stat.S_IFCHR | 0o644, os.makedev(1, 5))
        else:
            path.symlink_to(chance.choice(OUTSIDE))


def line(chance: random.Random, folder: Path, names: list[str]) -> str:
    """Of a JSONL file."""
    kind = chance.random()
    if kind < 0.1:
        return chance.choice(("", "[]", "null", "{", "[" * 3000, '{"image_path": 1}', "\ufeff{}", "1e999", "NaN", "\0"))
    target = chance.choice((*names, *OUTSIDE, "a\0b", "~", "", "x" * 5000))
    path = target if chance.random() < 0.2 else str(folder / target.lstrip("/")) if "\0" not in target else target
    if chance.random() < 0.15:
        path = chance.choice(OUTSIDE)
    key = chance.choice(("image_path", "video_path", "image_path", "image_path_0", "path"))
    text = json.dumps({key: path, "caption": chance.choice(WORDS)}, ensure_ascii=chance.random() < 0.5)
    return text if kind < 0.9 else text[: chance.randrange(len(text))]


def archive(chance: random.Random) -> bytes:
    """What a chat might return, or somebody who means ill."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as made:
        for _ in range(chance.randrange(6)):
            inside = chance.choice(
                ("../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt", "p1.txt", "p2.txt")
            )
            if chance.random() < 0.5:
                inside = name(chance, (".txt", ".md", ".json", ".png", "/")).encode("utf-8", "replace").decode()
            info = zipfile.ZipInfo(inside.replace("\0", "_"))
            if chance.random() < 0.2:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                made.writestr(info, chance.choice(OUTSIDE))
            elif chance.random() < 0.05:
                info.compress_type = zipfile.ZIP_DEFLATED
                made.writestr(info, bytes(3_000_000))
            else:
                made.writestr(info, caption(chance))
    whole = data.getvalue()
    return whole if chance.random() < 0.5 else mutated(whole, chance)
