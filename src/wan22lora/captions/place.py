"""What a command is about: the pictures and clips of a folder, or of a run's folders, and their caption files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wan22lora.captions.instruction import CaptionKind
from wan22lora.dataset.listing import extensions_of, media_among, names_in
from wan22lora.dataset.source import Kind
from wan22lora.errors import DatasetError, Finding, SpecError
from wan22lora.spec.paths import similar

KINDS: tuple[Kind, ...] = ("images", "videos")
USUAL_EXTENSION = ".txt"

_KIND_OF_PRESET: dict[str, CaptionKind] = {"person": "person", "character": "character", "concept": "concept"}
_KIND_OF_MOTION: CaptionKind = "concept"


@dataclass(frozen=True)
class Medium:
    """A picture or clip and where its caption is, or would be."""

    path: Path
    kind: Kind
    caption: Path


@dataclass(frozen=True)
class Place:
    """All that one command works on."""

    typed: str
    """As the person named it, for commands to type next."""
    media: tuple[Medium, ...]
    """In the order of folders and names; of several with one caption file only the first."""
    trigger: str | None = None
    kind: CaptionKind | None = None
    """What the run trains, where its preset tells."""
    notes: tuple[Finding, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(medium.caption.parent for medium in self.media))

    @property
    def many_folders(self) -> bool:
        return len(self.folders) > 1

    def name_of(self, file: Path) -> str:
        """Short, and clear where there are several folders."""
        return f"{file.parent.name}/{file.name}" if self.many_folders else file.name


def folders_named(what: Path) -> tuple[Path, ...]:
    """The folders of a folder or run.yaml, whatever is in them. Raises SpecError and DatasetError."""
    return tuple(dict.fromkeys(folder for folder, _, _ in _datasets(what)[0]))


def place_at(what: Path, extension: str | None = None) -> Place:
    """A folder, or a run.yaml with its folders, caption extension, trigger and preset.

    Raises SpecError for a run.yaml that cannot be used or has no folder, DatasetError for folders that cannot be read
    or hold nothing to be captioned.
    """
    datasets, trigger, preset, notes = _datasets(what)
    media: dict[Path, Medium] = {}
    for folder, kinds, own in datasets:
        for medium in _media(folder, kinds, extension or own):
            media.setdefault(medium.caption, medium)
    if not media:
        usual = "; ".join(f"{kind}: {extensions_of(kind)}" for kind in KINDS)
        finding = Finding(str(datasets[0][0]), "no pictures or clips in this folder", f"Put some in it. {usual}")
        raise DatasetError("There is nothing to caption.", findings=[finding])
    kind = None if preset is None else _KIND_OF_PRESET.get(preset)
    if preset is not None and kind is None:
        kind = _KIND_OF_MOTION if preset in ("motion", "i2v") else "style"
    return Place(str(what), tuple(media.values()), trigger, kind, notes)


_Dataset = tuple[Path, tuple[Kind, ...], str]


def _datasets(what: Path) -> tuple[list[_Dataset], str | None, str | None, tuple[Finding, ...]]:
    if what.is_dir():
        return [(what.absolute(), KINDS, USUAL_EXTENSION)], None, None, ()
    if not what.exists() or what.suffix.lower() not in (".yaml", ".yml"):
        state = "does not exist" if not what.exists() else "is neither a folder nor a run.yaml"
        near = None if what.exists() else similar(what, ".yaml", ".yml")
        fix = f"did you mean {near}?" if near else "Give the folder of pictures or clips, or a run.yaml."
        raise SpecError(f"{what} {state}", fix=fix)
    from wan22lora.spec.load import load_spec

    spec = load_spec(what)
    found: list[_Dataset] = []
    names: dict[str, Path] = {}  # a folder may be named in two ways, one of them a link
    notes = []
    for dataset in spec.datasets:
        kind: Kind = "videos" if dataset.kind == "videos" else "images"
        if dataset.directory is not None:
            folder = names.setdefault(os.path.realpath(dataset.directory), dataset.directory)
            found.append((folder, (kind,), dataset.settings.caption_extension or USUAL_EXTENSION))
        else:
            message = "the captions of a JSONL file are lines of it; `captions` works on files in folders"
            notes.append(Finding(str(dataset.jsonl), message, "Edit the JSONL file itself.", "warning"))
    if not found:
        raise SpecError(f"{what} has no folder whose captions could be changed", findings=notes)
    return found, spec.trigger, spec.preset, tuple(notes)


def _media(folder: Path, kinds: Iterable[Kind], extension: str) -> list[Medium]:
    try:
        names = names_in(folder)
    except OSError as problem:
        finding = Finding(str(folder), f"the folder cannot be read ({problem.strerror})", "Correct its name.")
        raise DatasetError("There is nothing to caption.", findings=[finding]) from problem
    return [
        Medium(folder / name, kind, folder / (os.path.splitext(name)[0] + extension))  # noqa: PTH122 - as musubi-tuner
        for kind in kinds
        for name in media_among(names, kind)
    ]
