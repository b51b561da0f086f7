"""What would be mended, as values, and in words before it is done."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wan22lora.captions.caption_file import content_of
from wan22lora.captions.decoding import decoded
from wan22lora.check.folders import list_folder, misnamed_captions
from wan22lora.dataset.pictures import UnreadableError, read_picture
from wan22lora.dataset.problems import counted, listed
from wan22lora.dataset.scan import Scan
from wan22lora.readable import readable

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
    rewritten: tuple[tuple[Path, str], ...] = ()
    """Caption files that are saved as UTF-8 without a byte order mark, each with its text."""

    def __bool__(self) -> bool:
        return bool(self.turns or self.renamings or self.rewritten)


def mending_of(scans: Sequence[Scan]) -> Mending:
    """What can be mended in these datasets: rotated pictures, not clips; captions whose numbers are shifted or that are
    named nearly right; captions that are not plain UTF-8.
    """
    turned: dict[Path, None] = {}
    rewritten: dict[Path, str] = {}
    renamings: dict[Path, Renaming] = {}
    for scan in scans:
        if scan.source.kind == "images":
            turned.update(dict.fromkeys(_rotated(scan)))
        found = misnamed_captions(scan.source, list_folder(scan.source))
        if found is not None and scan.source.directory is not None:
            renamings[scan.source.directory] = Renaming(scan.source.directory, tuple(sorted(found.renames)))
        if scan.source.directory is not None:
            rewritten.update(_to_be_rewritten(scan))
    return Mending(tuple(sorted(turned)), tuple(renamings.values()), tuple(sorted(rewritten.items())))


def _to_be_rewritten(scan: Scan) -> Iterator[tuple[Path, str]]:
    """Captions that are not UTF-8, or begin with a byte order mark, and what is read in them."""
    for finding in scan.findings:
        if finding.kind not in ("caption-not-utf8", "caption-bom"):
            continue
        for medium in (path for each in finding.about for path in each.paths):
            file = Path(os.path.splitext(medium)[0] + scan.source.caption_extension)  # noqa: PTH122 - as musubi-tuner
            text = decoded(content_of(file) or b"")
            if text is not None and text.strip():
                yield file, text


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
            accents = " (the accents in another form)" if old != new and _composed(old) == _composed(new) else ""
            yield f"  {listed([old])} → {listed([new])}{accents}  {_beginning(_read(renaming.folder / old))}"
        if len(renaming.names) > SHOWN:
            yield f"  … and {len(renaming.names) - SHOWN} more"
    for folder, files in by_folder([file for file, _ in mending.rewritten]).items():
        texts = dict(mending.rewritten)
        yield f"{counted(len(files), 'caption')} of {folder} would be saved as UTF-8 without a byte order mark:"
        for file in files[:SHOWN]:
            yield f"  {listed([file.name])}  {_beginning(texts[file])}"
        if len(files) > SHOWN:
            yield f"  … and {len(files) - SHOWN} more"


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _beginning(text: str) -> str:
    flat = readable(" ".join(text.split()))
    return flat if len(flat) <= _WORDS else f"{flat[:_WORDS]}…"


def _read(caption: Path) -> str:
    try:
        return caption.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def by_folder(paths: Sequence[Path]) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        found[path.parent].append(path)
    return found
