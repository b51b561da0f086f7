"""How a known failure is recognised and told.

The failures_of_… modules list them, with patterns of the programs' own messages (musubi v0.3.4, torch, safetensors). Of
several that fit the first is told, so the particular stands before the general.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["loading", "first step", "training"]
"""How far a program came: before its first step (a cache program never leaves this), in it, or after it."""

FRAMES = r"(?:  File .*\n)*"
"""In a pattern: further functions of a traceback, whose lines of source code are taken out before the search."""


@dataclass(frozen=True)
class Diagnosis:
    """A failure with a name. `fix` names keys of run.yaml and commands of this program."""

    name: str
    cause: str
    fix: str


@dataclass(frozen=True)
class KnownFailure:
    """Output that gives a failure away. Named groups of the pattern fill the braces in `cause` and `fix`."""

    name: str
    pattern: str
    """Searched in the last lines of the output; "." does not match the end of a line."""
    cause: str
    fix: str
    programs: tuple[str, ...] = ()
    """Empty: any."""
    phases: tuple[Phase, ...] = ()
    """Empty: any."""

    def recognised(self, program: str, phase: Phase, output: str) -> Diagnosis | None:
        if (self.programs and program not in self.programs) or (self.phases and phase not in self.phases):
            return None
        found = re.search(self.pattern, output, re.MULTILINE)
        if found is None:
            return None
        told = {name: (text or "").strip() for name, text in found.groupdict().items()}
        return Diagnosis(self.name, self.cause.format(**told), self.fix.format(**told))


def first_recognised(failures: Iterable[KnownFailure], program: str, phase: Phase, output: str) -> Diagnosis | None:
    """The diagnosis of the first failure whose pattern is in the output."""
    for failure in failures:
        diagnosis = failure.recognised(program, phase, output)
        if diagnosis is not None:
            return diagnosis
    return None
