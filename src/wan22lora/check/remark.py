"""One thing to say about a dataset, as a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wan22lora.dataset.problems import counted, listed
from wan22lora.errors import Finding, Named
from wan22lora.kinds import FindingKind

Level = Literal["error", "warning", "note"]
ORDER: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Remark:
    """What was found, in which files, why it matters, and what to do about it."""

    kind: FindingKind
    level: Level
    """An error stops `train` or makes musubi-tuner stop; a warning does neither; a note is advice."""
    where: str
    """The folder, the JSONL file, or a place in run.yaml."""
    message: str
    why: str = ""
    fix: str = ""
    about: tuple[Named, ...] = ()
    """All files that it is about."""

    @property
    def files(self) -> tuple[str, ...]:
        """Their names, perhaps each with a word in brackets."""
        return tuple(each.text for each in self.about)


def named(path: Path, words: str = "") -> Named:
    """A file by its name, perhaps with a word in brackets."""
    return Named(f"{path.name} ({words})" if words else path.name, (path,))


def together(paths: Sequence[Path]) -> Named:
    """Files that are, or say, the same."""
    return Named(" = ".join(path.name for path in paths), tuple(paths))


def from_finding(finding: Finding) -> Remark:
    """What `train` says too; what it says of run.yaml has no kind of its own."""
    message = finding.message
    if finding.about:  # named once more, and all of them, wherever a remark is shown
        message = message.replace(f": {listed([each.text for each in finding.about])}", "", 1)
    return Remark(
        finding.kind or "said-by-train", finding.level, finding.where, message, fix=finding.fix, about=finding.about
    )


def worst_first(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    """Errors, warnings, notes; otherwise in the order in which they were found."""
    return tuple(sorted(dict.fromkeys(remarks), key=lambda remark: ORDER.index(remark.level)))


def in_short(remarks: Sequence[Remark]) -> str:
    """`2 errors, 1 warning, 3 of advice.`"""
    levels = [remark.level for remark in remarks]
    errors, warnings, notes = levels.count("error"), levels.count("warning"), levels.count("note")
    rest = f"{counted(warnings, 'warning')}, {notes} of advice."
    return f"{counted(errors, 'error') if errors else 'No errors'}, {rest}"
