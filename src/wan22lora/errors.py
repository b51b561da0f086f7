"""What can go wrong, as values: findings, and one class and one exit code per kind of failure.

Exit codes: 1 a bug, 2 run.yaml or usage, 3 dataset, 4 machine, models or musubi-tuner, 5 a step failed,
6 a step ended well but its files are missing or wrong, 7 the run folder is locked or does not match,
129/130/143 interrupted and resumable.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wan22lora.kinds import FindingKind


def command(*words: str | Path) -> str:
    """A command as it is typed, for the `fix` of a finding: names may hold spaces."""
    return shlex.join(map(str, words))


@dataclass(frozen=True)
class Named:
    """A file that a finding is about, or several that belong together."""

    text: str
    """What a person is told: `a.png (64×64)`, `a.png = b.png`."""
    paths: tuple[Path, ...] = ()
    """Where they lie."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing: where it is, what it means, and what to do about it."""

    where: str
    """`run.yaml:12:7 train.learning_rate`, a file, or an option."""
    message: str
    fix: str = ""
    level: Literal["error", "warning", "note"] = "error"
    kind: FindingKind | None = None
    """Of what is said of a dataset."""
    about: tuple[Named, ...] = ()
    """All files that it is about; the message may name the first of them."""

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n    → {self.fix}" if self.fix else text

    @property
    def told(self) -> str:
        """With its level in front."""
        return f"{self.level}: {self}"


class Failure(Exception):
    """A failure with a name, an exit code and the command to type next. Never shown as a traceback."""

    exit_code = 1

    def __init__(self, summary: str, *, findings: Iterable[Finding] = (), fix: str = "") -> None:
        super().__init__(summary)
        self.summary = summary
        self.findings = tuple(findings)
        self.fix = fix

    def __str__(self) -> str:
        parts = [
            self.summary,
            *(finding.told if finding.level != "error" else str(finding) for finding in self.findings),
        ]
        if self.fix:
            parts.append(f"→ {self.fix}")
        return "\n".join(parts)


class SpecError(Failure):
    """run.yaml, a preset or the command line asks for something that cannot be."""

    exit_code = 2


class DatasetError(Failure):
    """The pictures, clips or captions would not train as the person expects."""

    exit_code = 3


class MachineError(Failure):
    """The machine lacks something: musubi-tuner, its environment, weights, space."""

    exit_code = 4


class StepFailed(Failure):
    """A step of the plan exited with an error."""

    exit_code = 5


class OutputsWrong(Failure):
    """A step exited with 0, but a file that it promised is missing or not valid."""

    exit_code = 6


class RunFolderError(Failure):
    """The run folder is in use by another process or belongs to something else."""

    exit_code = 7


class Interrupted(Failure):
    """A person or the machine stopped the run; it can be continued. 130 for SIGINT, 143 for SIGTERM,
    129 for SIGHUP.
    """

    exit_code = 130

    def __init__(self, summary: str, *, exit_code: int = 130, fix: str = "") -> None:
        super().__init__(summary, fix=fix)
        self.exit_code = exit_code
