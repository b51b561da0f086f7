"""Findings about many files as one: three hundred missing captions are one problem and not as many lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wan22lora.errors import Finding

SHOWN = 5
"""Names that a finding about many files lists."""

Level = Literal["error", "warning"]


def listed(names: Sequence[str]) -> str:
    """`a, b, c` or `a, b, c, d, e and 295 more`."""
    # A file name may hold bytes that are no text, which no screen takes.
    shown = ", ".join(name.encode("utf-8", "backslashreplace").decode() for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def counted(count: int, noun: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass
class Problems:
    """Collects what is wrong with files or lines of one place, by kind, in the order of first appearance."""

    place: Path
    noun: str
    numbered: bool = False
    """True when the names are line numbers: then the place is given with the first of them."""
    _kinds: dict[tuple[str, str, Level], list[str]] = field(default_factory=dict)

    def add(self, what: str, name: str, *, fix: str, level: Level = "error") -> None:
        """One more file of a kind; `what` follows `3 pictures` or `1 picture` and has no full stop."""
        self._kinds.setdefault((what, fix, level), []).append(name)

    def findings(self) -> list[Finding]:
        return [
            Finding(
                f"{self.place}:{names[0]}" if self.numbered else str(self.place),
                f"{counted(len(names), self.noun)} {what}: {listed(names)}",
                fix,
                level,
            )
            for (what, fix, level), names in self._kinds.items()
        ]
