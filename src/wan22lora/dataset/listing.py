"""What musubi-tuner finds in a folder (dataset/media_utils.py:21-95 at v0.3.4)."""

from __future__ import annotations

import os
from pathlib import Path

from wan22lora.dataset.source import Kind

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif")
_CLIPS = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".flv", ".wmv", ".m4v", ".mpg", ".mpeg")

PICTURE_EXTENSIONS = _PICTURES + tuple(extension.upper() for extension in _PICTURES)
"""All lower or all upper case, nothing between. `.jxl` counts only where its plug-in is installed beside
musubi-tuner; at d0a1930 that goes for `.avif` too."""

CLIP_EXTENSIONS = _CLIPS + tuple(extension.upper() for extension in _CLIPS)

_ALIKE: dict[Kind, set[str]] = {
    "images": {*_PICTURES, ".jxl", ".jfif", ".jpe", ".gif", ".tif", ".tiff", ".heic", ".heif"},
    "videos": {*_CLIPS, ".gif", ".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".vob"},
}


def extensions_of(kind: Kind) -> str:
    """The extensions in words, for messages."""
    lower = _PICTURES if kind == "images" else _CLIPS
    return f"{' '.join(lower)} (all lower or all upper case)"


def names_in(folder: Path) -> list[str]:
    """Names of everything in a folder, folders and broken links included, hidden ones not, sorted.

    Raises OSError where the folder cannot be read; musubi-tuner sees an empty folder there.
    """
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208


def media_among(names: list[str], kind: Kind) -> list[str]:
    """The names that musubi-tuner takes for pictures or clips, in its order."""
    extensions = PICTURE_EXTENSIONS if kind == "images" else CLIP_EXTENSIONS
    wanted = tuple({os.path.normcase(extension) for extension in extensions})
    return [name for name in names if os.path.normcase(name).endswith(wanted)]


def overlooked_among(names: list[str], kind: Kind) -> list[str]:
    """The names that a person would take for pictures or clips and musubi-tuner does not."""
    seen = set(media_among(names, kind))
    return [name for name in names if name not in seen and os.path.splitext(name)[1].lower() in _ALIKE[kind]]  # noqa: PTH122


def looks_like_media(name: str) -> Kind | None:
    """What a person would take a file for by its name, whether or not musubi-tuner finds it; None for other files."""
    suffix = Path(name).suffix.lower()
    return next((kind for kind, extensions in _ALIKE.items() if suffix in extensions), None)
