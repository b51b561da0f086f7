"""Findings about many files as one: three hundred missing captions are one problem and not as many lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wan22lora.errors import Finding, Named
from wan22lora.kinds import FindingKind
from wan22lora.readable import readable

SHOWN = 5
"""Names that a finding about many files lists."""

Level = Literal["error", "warning"]


def listed(names: Iterable[str], last: str = ", ") -> str:
    """`a, b, c` or `a, b, c, d, e and 295 more`; `a, b and c` where `last` is ` and `."""
    names = list(names)
    shown = [readable(name).replace("\n", "\\n") for name in names[:SHOWN]]
    if len(names) > SHOWN:
        return f"{', '.join(shown)} and {len(names) - SHOWN} more"
    return last.join(part for part in (", ".join(shown[:-1]), *shown[-1:]) if part)


def counted(count: int, noun: str) -> str:
    """`1 picture`, `2 pictures`, `1,200 batches`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('ch') else 's'}"


@dataclass
class Problems:
    """Collects what is wrong with files or lines of one place, by kind, in the order of first appearance."""

    place: Path
    noun: str
    numbered: bool = False
    """True when the names are line numbers: then the place is given with the first of them."""
    _kinds: dict[tuple[FindingKind, str, str, Level], list[Named]] = field(default_factory=dict)

    def add(self, kind: FindingKind, what: str, name: str, *paths: Path, fix: str, level: Level = "error") -> None:
        """One more file of a kind; `what` follows `3 pictures` or `1 picture` and has no full stop."""
        self._kinds.setdefault((kind, what, fix, level), []).append(Named(name, paths))

    def findings(self) -> list[Finding]:
        return [
            Finding(
                f"{self.place}:{about[0].text}" if self.numbered else str(self.place),
                f"{counted(len(about), self.noun)} {what}: {listed([each.text for each in about])}",
                fix,
                level,
                kind,
                tuple(about),
            )
            for (kind, what, fix, level), about in self._kinds.items()
        ]
