"""What would be mended, as values, and in words before it is done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wan22lora.check.folders import list_folder, shifted_captions
from wan22lora.dataset.pictures import UnreadableError, read_picture
from wan22lora.dataset.problems import counted, listed
from wan22lora.dataset.scan import Scan

SHOWN = 12
"""Renamings of a folder that are shown."""
_WORDS = 50
"""Characters of a caption that are shown."""


@dataclass(frozen=True)
class Renaming:
    """The caption files of a folder that get other names, all at once."""

    folder: Path
    names: tuple[tuple[str, str], ...]
    """The name and the new one."""


@dataclass(frozen=True)
class Mending:
    turns: tuple[Path, ...] = ()
    """Pictures whose rotation tag is carried out."""
    renamings: tuple[Renaming, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.turns or self.renamings)


def mending_of(scans: Sequence[Scan]) -> Mending:
    """What can be mended in these datasets: rotated pictures, not clips, and captions whose numbers are shifted."""
    turned: dict[Path, None] = {}
    renamings: dict[Path, Renaming] = {}
    for scan in scans:
        if scan.source.kind == "images":
            turned.update(dict.fromkeys(_rotated(scan)))
        found = shifted_captions(scan.source, list_folder(scan.source))
        if found is not None and scan.source.directory is not None:
            ending = scan.source.caption_extension
            names = tuple(sorted((old + ending, new + ending) for old, new in found.renames))
            renamings[scan.source.directory] = Renaming(scan.source.directory, names)
    return Mending(tuple(sorted(turned)), tuple(renamings.values()))


def _rotated(scan: Scan) -> Iterator[Path]:
    """Also those without a caption, which the scan does not open: perhaps it is only shifted."""
    for finding in scan.findings:
        paths = [path for each in finding.about for path in each.paths]
        if finding.kind == "rotated":
            yield from paths
        elif finding.kind == "caption-missing":
            for path in paths:
                with suppress(UnreadableError):
                    if read_picture(path).turned:
                        yield path


def in_words(mending: Mending) -> Iterator[str]:
    """Lines that a person reads before agreeing; beside each renaming the beginning of its caption."""
    for folder, paths in by_folder(mending.turns).items():
        yield f"{counted(len(paths), 'picture')} of {folder} would be turned upright, the originals kept beside:"
        yield f"  {listed([path.name for path in paths])}"
        if links := [path for path in paths if path.is_symlink()]:
            which = "it is a link" if len(links) == len(paths) == 1 else f"{counted(len(links), 'link')} among them"
            yield f"  {which}: an upright copy takes the link's place, what it leads to stays"
            yield f"  as it is, and the link itself is kept: {listed([path.name for path in links])}"
    for renaming in mending.renamings:
        yield f"{counted(len(renaming.names), 'caption')} of {renaming.folder} would be renamed:"
        for old, new in renaming.names[:SHOWN]:
            yield f"  {listed([old])} → {listed([new])}  {_beginning(renaming.folder / old)}"
        if len(renaming.names) > SHOWN:
            yield f"  … and {len(renaming.names) - SHOWN} more"


def _beginning(caption: Path) -> str:
    try:
        text = " ".join(caption.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return ""
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"


def by_folder(paths: Sequence[Path]) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        found[path.parent].append(path)
    return found
