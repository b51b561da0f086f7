"""One thing to say about a dataset, as a value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from wan22lora.errors import Finding

Level = Literal["error", "warning", "note"]
ORDER: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Remark:
    """What was found, in which files, why it matters, and what to do about it."""

    kind: str
    """Stable, for programs: `transparent`."""
    level: Level
    """An error stops `train` or makes musubi-tuner stop; a warning does neither; a note is advice."""
    where: str
    """The folder, the JSONL file, or a place in run.yaml."""
    message: str
    why: str = ""
    fix: str = ""
    files: tuple[str, ...] = ()
    """All files that it is about, perhaps each with a word in brackets."""


def from_finding(finding: Finding) -> Remark:
    """What `train` says too; the files that it is about are named in the message."""
    return Remark("said-by-train", finding.level, finding.where, finding.message, fix=finding.fix)


def worst_first(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    """Errors, warnings, notes; otherwise in the order in which they were found."""
    return tuple(sorted(dict.fromkeys(remarks), key=lambda remark: ORDER.index(remark.level)))
