"""A setup as data: what is done to the machine, as frozen values that are printed or carried out.

Deciding on them starts nothing that changes the machine and writes no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wan22lora.errors import Finding
from wan22lora.models.state import Standing

StepId = Literal["musubi", "environment", "proof", "record", "weights"]


@dataclass(frozen=True)
class Run:
    """A command. With `unless`, it is left out where that other command succeeds."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the caller's environment."""
    unless: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expect:
    """A command whose only line of output must be this one."""

    argv: tuple[str, ...]
    output: str
    otherwise: str
    """What it means when it is another."""


@dataclass(frozen=True)
class Remove:
    """A file or a folder with all that is in it; only ever something that setup itself made."""

    path: Path


@dataclass(frozen=True)
class Move:
    """A rename, whole or not at all. The target may be an empty folder."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Write:
    """A small file, whole or not at all."""

    path: Path
    content: str


@dataclass(frozen=True)
class Prove:
    """musubi's Python is asked to import what a run needs, and torch for the GPU."""

    musubi: Path
    python: Path
    modules: tuple[str, ...]
    """What the run needs beyond what musubi itself imports."""
    gpu_expected: bool


@dataclass(frozen=True)
class Record:
    """Paths for machine.yaml."""

    file: Path
    settings: Mapping[str, Path]


@dataclass(frozen=True)
class Fetch:
    """Weights and the tokenizer, from their repositories into the folder of models, in the order of use."""

    models: Path
    files: tuple[Standing, ...]


Action = Run | Expect | Remove | Move | Write | Prove | Record | Fetch


@dataclass(frozen=True)
class Step:
    """One thing that must be right. Its actions lead there from what was found."""

    id: StepId
    title: str
    fresh: bool
    why: str
    """The reason for `fresh`, for a person to read."""
    actions: tuple[Action, ...] = ()
    download_gb: float = 0
    """About what it downloads, in GB (10⁹ bytes)."""


@dataclass(frozen=True)
class Plan:
    """A whole setup."""

    facts: tuple[str, ...]
    """What was found on the machine, a line each."""
    steps: tuple[Step, ...]
    refusals: tuple[Finding, ...] = ()
    """Why it cannot be carried out here."""
    notes: tuple[Finding, ...] = ()
    """Warnings, and facts worth a line on the screen."""

    @property
    def settled(self) -> bool:
        """Nothing has to be changed; the proof asks all the same."""
        return all(step.fresh for step in self.steps if step.id != "proof")
