"""How things stand with each file in a folder of models: here, arriving, wrong or missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wan22lora.models.arriving import is_arriving
from wan22lora.models.catalogue import ModelFile
from wan22lora.models.part import part_size
from wan22lora.models.places import locate, target
from wan22lora.models.recognise import what_is_wrong
from wan22lora.models.record import read_record

State = Literal["here", "arriving", "wrong", "missing"]


@dataclass(frozen=True)
class Standing:
    """One file of the catalogue in one folder of models."""

    file: ModelFile
    path: Path
    """Where it is, or would be."""
    state: State
    why: str = ""
    """Of a wrong one what it is, reading on after its name."""
    arrived: int = 0
    """Bytes that an earlier or running fetch has brought; the whole file's when it is here."""

    @property
    def left(self) -> int:
        """Bytes still to be fetched."""
        return 0 if self.state == "here" else max(0, self.file.size - self.arrived)


def standing(models: Path, file: ModelFile) -> Standing:
    """Looks at names, sizes and headers, not at hashes. Never raises for what lies in the folder."""
    path, place = locate(models, file), target(models, file)
    if path is not None:
        why = _what_is_wrong(models, file, path)
        if not why:
            return Standing(file, path, "here", arrived=path.stat().st_size)
    arrived = part_size(place)
    if is_arriving(place):
        return Standing(file, place, "arriving", arrived=arrived)
    if path is not None:
        return Standing(file, path, "wrong", why, arrived)
    return Standing(file, place, "missing", arrived=arrived)


def standings(models: Path, files: Iterable[ModelFile]) -> tuple[Standing, ...]:
    """All of them, in the order given."""
    return tuple(standing(models, file) for file in files)


def _what_is_wrong(models: Path, file: ModelFile, path: Path) -> str:
    record = read_record(models, file) if path == target(models, file) else None
    try:
        if record is not None and path.stat().st_size == record.size:
            return ""  # its hash was right when it arrived; `verify` reads it again
        return what_is_wrong(file, path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
