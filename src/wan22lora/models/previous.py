"""A file that gives its place to a fetched one: kept beside it, since only a person knows what it is worth."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path

from wan22lora.errors import command
from wan22lora.models.catalogue import ModelFile
from wan22lora.models.places import target
from wan22lora.models.progress import gigabytes
from wan22lora.models.state import Standing

_MARK = ".previous"
"""Last in the name, so that ComfyUI and `models use` take it for no model."""


def next_place(path: Path) -> Path:
    """Where the file at `path` would be kept: beside it, so on the same disk, under a name that nothing has."""
    names = chain([_MARK], (f"{_MARK}-{number}" for number in count(2)))
    places = (path.with_name(f"{path.name}{mark}") for mark in names)
    return next(place for place in places if not os.path.lexists(place))


def what_becomes_of(models: Path, wrong: Standing) -> str:
    """Of a file that a fetch is to bring anew, reading on after its name."""
    if wrong.path != target(models, wrong.file):
        return "stays where it is"
    if wrong.path.is_symlink():
        return "is a link; what it points to stays"
    return f"will be kept as {next_place(wrong.path).name}"


def set_aside(path: Path) -> str:
    """Frees the place and returns what to tell about it; empty when nothing is there. Raises OSError.

    A link just goes: the file that it points to stays.
    """
    if path.is_symlink():
        behind = path.readlink()
        path.unlink()
        return f"{path.name} was a link to {behind}, which stays as it is"
    if not path.exists():
        return ""
    size, kept = path.stat().st_size, next_place(path)
    path.rename(kept)
    return f"what was there is kept ({gigabytes(size)}): {kept}\n  if nobody wants it: {command('rm', kept)}"


def kept_files(models: Path, files: Iterable[ModelFile]) -> Iterator[Path]:
    """What earlier fetches of these files have set aside and nobody has removed."""
    for file in files:
        place = target(models, file)
        if place.parent.is_dir():
            beside = (path for path in place.parent.iterdir() if path.name.startswith(f"{place.name}{_MARK}"))
            yield from sorted(path for path in beside if path.is_file())
