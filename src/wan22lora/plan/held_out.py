"""Items kept out of the training, on which it is validated: which they are, and the file that tells the trainer."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from wan22lora.dataset.entries import is_text
from wan22lora.dataset.latents import latents_of
from wan22lora.dataset.problems import counted
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source
from wan22lora.errors import Finding

HELD_OUT_FILE = "held-out.txt"
"""Its name in the run folder."""


@dataclass(frozen=True)
class HeldOut:
    """What is kept out of the training, each clip with all its windows."""

    keys: frozenset[tuple[int, str]] = frozenset()
    """Position of the dataset in run.yaml and stem of the item."""

    def __bool__(self) -> bool:
        return bool(self.keys)

    def holds(self, source: Source, item: Item) -> bool:
        return (source.index, item.stem) in self.keys

    def items(self, scans: Iterable[Scan]) -> tuple[Item, ...]:
        """The items themselves, in the order of the datasets."""
        return tuple(item for scan in scans for item in scan.items if self.holds(scan.source, item))

    def left_of(self, scans: Iterable[Scan]) -> tuple[Scan, ...]:
        """The datasets as the training sees them; the very same where nothing is held out, with what they counted."""
        if not self:
            return tuple(scans)
        return tuple(
            replace(scan, items=tuple(item for item in scan.items if not self.holds(scan.source, item)))
            for scan in scans
        )

    def file(self) -> str:
        """The content of held-out.txt: `<name of the dataset's cache folder>/<stem>`, one a line."""
        return "".join(f"{index}/{stem}\n" for index, stem in sorted(self.keys))


def hold_out(wanted: int | Sequence[str], scans: Sequence[Scan]) -> HeldOut:
    """Chooses as many items as a number asks for, or those that have one of these file names or stems.

    A number chooses by a digest of dataset and stem, evenly over everything, and the choice hardly changes when items
    are added. Names that no item has are left to `hold_out_findings`.
    """
    candidates = [(scan.source.index, item) for scan in scans for item in scan.items if _can_be_held_out(scan, item)]
    if isinstance(wanted, int):
        ranked = sorted(((index, item.stem) for index, item in candidates), key=_rank)
        return HeldOut(frozenset(ranked[:wanted]))
    names = set(wanted)
    return HeldOut(frozenset((index, item.stem) for index, item in candidates if names & {item.path.name, item.stem}))


def hold_out_findings(wanted: int | Sequence[str], scans: Sequence[Scan], where: str) -> Iterator[Finding]:
    """Names that no item has, and a choice that leaves nothing to train on; `where` is the key's place in run.yaml."""
    items = [(scan, item) for scan in scans for item in scan.items]
    usable = [item for scan, item in items if _can_be_held_out(scan, item)]
    if not usable:
        return  # the datasets' own findings say why
    if not isinstance(wanted, int):
        known = {name for item in usable for name in (item.path.name, item.stem)}
        for name in wanted:
            if name not in known:
                yield Finding(where, f"there is no picture or clip named {name!r}", _suggestion(name, known))
    held = hold_out(wanted, scans)
    if len(held.items(scans)) >= len(usable):
        yield Finding(
            where,
            f"all of {counted(len(usable), 'item')} would be held out, and none left to train on",
            "hold out fewer",
        )


def _can_be_held_out(scan: Scan, item: Item) -> bool:
    """An item without a window is in no training, and a name of odd characters cannot be written on a line."""
    return bool(latents_of(item, scan.source)) and is_text(item.stem) and item.stem.splitlines() == [item.stem]


def _rank(key: tuple[int, str]) -> str:
    return hashlib.sha256(f"{key[0]}/{key[1]}".encode()).hexdigest()


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {close[0]!r}?" if close else "give the file's name, with or without its extension"
