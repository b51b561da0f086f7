"""Rules about what else lies in the folder of a dataset: captions of nothing, leftovers of zips, what is not seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wan22lora.check.near_names import near_names
from wan22lora.check.numbering import mismatch
from wan22lora.check.remark import Remark, named
from wan22lora.dataset.listing import media_among
from wan22lora.dataset.problems import counted
from wan22lora.dataset.source import Kind, Source
from wan22lora.errors import Named
from wan22lora.readable import readable

KINDS: tuple[Kind, ...] = ("images", "videos")
LEFTOVERS = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", "ehthumbs.db"})
_SHOWN_RENAMES = 3


@dataclass(frozen=True)
class Listing:
    """The names in a dataset's folder, hidden ones included, sorted."""

    names: tuple[str, ...] = ()
    inside: tuple[tuple[str, int], ...] = ()
    """Subfolders that hold pictures or clips, each with how many."""


def list_folder(source: Source) -> Listing:
    """Nothing for a JSONL file, and for a folder that cannot be read, which the scan says."""
    if source.directory is None:
        return Listing()
    try:
        with os.scandir(source.directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return Listing()
    inside = []
    for entry in entries:
        if entry.name.startswith(".") or entry.name in LEFTOVERS or not _is_folder(entry):
            continue
        count = len(media_among(_names(Path(entry.path)), source.kind))
        if count:
            inside.append((entry.name, count))
    return Listing(tuple(entry.name for entry in entries), tuple(inside))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into a folder that is closed
        return False


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208
    except OSError:
        return []


def folder_remarks(source: Source, listing: Listing) -> Iterator[Remark]:
    where, place = str(source.place), source.place
    seen = [name for name in listing.names if not name.startswith(".")]
    yield from _captions_of_nothing(source, where, seen, misnamed_captions(source, listing))
    hidden = tuple(
        named(place / name)
        for name in media_among(list(listing.names), source.kind)
        if name.startswith(".") and not name.startswith("._")
    )
    if hidden:
        yield Remark(
            "hidden",
            "warning",
            where,
            f"{counted(len(hidden), 'hidden ' + source.noun)} not trained",
            "musubi-tuner does not see names that start with a dot",
            "Rename what should train.",
            hidden,
        )
    leftovers = tuple(named(place / name) for name in listing.names if name in LEFTOVERS or name.startswith("._"))
    if leftovers:
        yield Remark(
            "leftovers",
            "note",
            where,
            f"{counted(len(leftovers), 'leftover')} of a zip or a file manager",
            "nobody reads them",
            "They may be deleted.",
            leftovers,
        )
    if listing.inside and media_among(seen, source.kind):
        yield Remark(
            "subfolders",
            "warning",
            where,
            f"{counted(sum(count for _, count in listing.inside), source.noun)} in subfolders not trained",
            "subfolders are not searched",
            "Move the files up, or list the folders as datasets of their own.",
            tuple(named(place / name, counted(count, source.noun)) for name, count in listing.inside),
        )


@dataclass(frozen=True)
class Misnamed:
    """Captions that have to be renamed to belong to their pictures or clips."""

    renames: tuple[tuple[str, str], ...]
    """The name of a file and the new one."""
    shift: int | None = None
    """By how much their numbers differ; None where it is not the numbers."""


def misnamed_captions(source: Source, listing: Listing) -> Misnamed | None:
    """What can be renamed without a doubt; None where there is nothing."""
    names = [name for name in listing.names if not name.startswith(".")]
    every = media_among(names, source.kind)
    media = [os.path.splitext(name)[0] for name in every]  # noqa: PTH122
    captions, extension = _captions(source, names), source.caption_extension
    if not media or not extension:
        return None
    shifted = mismatch(media, captions) if _alone(captions, names) else None
    if shifted is not None:
        pairs = tuple((old + extension, new + extension) for old, new in shifted.renames)
        return Misnamed(pairs, shifted.shift)
    # Where capitals do not matter to the disk, the new name is there already.
    pairs = tuple(pair for pair in near_names(every, names, extension) if not os.path.lexists(source.place / pair[1]))
    return Misnamed(pairs) if pairs else None


def _captions(source: Source, names: list[str]) -> list[str]:
    """The stems of the caption files."""
    extension = source.caption_extension
    return [name[: -len(extension)] for name in names if extension and name.endswith(extension)]


def _alone(captions: list[str], names: list[str]) -> list[str]:
    """Those that belong to no picture and no clip."""
    every = {os.path.splitext(name)[0] for kind in KINDS for name in media_among(names, kind)}  # noqa: PTH122
    return [stem for stem in captions if stem not in every]


def _captions_of_nothing(source: Source, where: str, names: list[str], found: Misnamed | None) -> Iterator[Remark]:
    extension = source.caption_extension
    captions = _captions(source, names)
    alone = [f"{stem}{extension}" for stem in _alone(captions, names)]
    if found is not None:
        yield _misnamed(source, where, names, found, len(captions) - len(alone))
        alone = [] if found.shift is not None else [name for name in alone if name not in dict(found.renames)]
    if media_among(names, source.kind) and alone:
        yield Remark(
            "caption-alone",
            "warning",
            where,
            f"{counted(len(alone), 'caption')} without a {source.noun} of the same name",
            f"a caption that no {source.noun} bears teaches nothing; perhaps one of them has a wrong name",
            f"Give caption and {source.noun} the same name, or delete the file.",
            tuple(named(source.place / name) for name in alone),
        )


def _misnamed(source: Source, where: str, names: list[str], found: Misnamed, paired: int) -> Remark:
    extension = source.caption_extension
    bearers = {os.path.splitext(name)[0] + extension: source.place / name for name in media_among(names, source.kind)}  # noqa: PTH122
    if found.shift is None:
        whose = f"its {source.noun}" if len(found.renames) == 1 else f"their {source.noun}s"
        what = f"{counted(len(found.renames), 'caption')} named nearly as {whose}"
        why = "capitals, the form of accents (a Mac writes others) and what stands before the dot must be the same"
    else:
        by = f"shifted by {abs(found.shift)}" if found.shift else "written in another way"
        wrong = f"; {counted(paired, source.noun)} would train with the caption of another one"
        what = f"the numbers of the captions are {by} against those of the {source.noun}s"
        what += wrong if found.shift and paired else ""
        why = "chats that write captions often number the files otherwise (the WAN 2.1 article warns of it)"
    shown = ", ".join(
        f"{readable(old.removesuffix(extension))} → {readable(new.removesuffix(extension))}"
        for old, new in found.renames[:_SHOWN_RENAMES]
    )
    return Remark(
        "caption-numbering",
        "warning",
        where,
        what,
        why,
        f"Look at two or three; `wan22lora check … --fix` renames them: {shown}"
        f"{', …' if len(found.renames) > _SHOWN_RENAMES else ''}",
        tuple(
            Named(f"{readable(old)} → {readable(new)}", (source.place / old, bearers[new]))
            for old, new in found.renames
        ),
    )
