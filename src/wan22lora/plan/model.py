"""The plan as data: frozen values that say which files and which processes a run consists of.

Building a plan starts no process and writes no file; `--dry-run` prints the very value that `train` executes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from wan22lora.errors import Finding
from wan22lora.plan.states import State

StepId = Literal["cache-latents", "cache-text", "train-high", "train-low", "train"]


@dataclass(frozen=True)
class PlannedFile:
    """A text file that must stand before the first step starts."""

    path: Path
    content: str


@dataclass(frozen=True)
class Refusal:
    """Why a training may not run: its states or its result were trained with something else than is asked for now."""

    findings: tuple[Finding, ...]
    """One for each part of the key that differs."""
    extendable: bool = False
    """True when it is only to become longer, so that it can go on from its state."""
    otherwise: str = ""
    """Another way out than --restart, if there is one."""


@dataclass(frozen=True)
class Step:
    """One process of the run."""

    id: StepId
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    """Variables added to the caller's environment."""
    after: tuple[StepId, ...] = ()
    """Steps of the same plan that must have succeeded before this one starts."""
    writes: tuple[Path, ...] = ()
    """Files that must exist with a valid safetensors header once the step has exited with 0."""
    stale: tuple[Path, ...] = ()
    """Files that musubi would take for current: removed when the step's turn comes, also where the step is fresh."""
    taken: Mapping[Path, Path] = field(default_factory=dict)
    """Files that the step need not make, because they lie elsewhere already: each with where that is."""
    foreign: tuple[Path, ...] = ()
    """Files that nobody knows in the way of the step: set aside before its turn."""
    key: Mapping[str, str] = field(default_factory=dict)
    """Everything the result depends on, as readable name → value; stored on success and compared next time."""
    learned: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """The cache files that a training learns from, each with what it was made from; `key` has their digest."""
    fresh: bool = False
    """True when the step need not run."""
    why: str = ""
    """The reason for `fresh`, for a person to read."""
    predicted_steps: int | None = None
    """Optimizer steps of a training."""
    states: Path | None = None
    """Where the trainer extension keeps the states of a training; None for a program that keeps none."""
    continues: State | None = None
    """The state that the training goes on from; None where it begins at its first step."""
    anew: bool = False
    """True when what an earlier training left moves away before the run's first step, because a person asked."""
    can_wait: bool = False
    """True for a program that can be started before its turn and then waits to be told (trainer/waiting.py)."""
    refusal: Refusal | None = None
    """Set for a step that must not run without a decision of a person."""

    def file_of(self, option: str) -> Path | None:
        """The file that the command names with an option, `--dit` for instance; None where it has no such option."""
        named = dict(zip(self.argv, self.argv[1:], strict=False))
        return Path(named[option]) if option in named else None

    @property
    def longer(self) -> bool:
        """True for a training that goes on from a state of a shorter one."""
        return self.continues is not None and (self.predicted_steps or 0) > self.continues.total

    @property
    def ended_at(self) -> int | None:
        """The step with which the shorter training had ended, if `longer` goes on from its very end."""
        state = self.continues
        return state.step if state is not None and self.longer and state.step == state.total else None

    @property
    def reports(self) -> bool:
        """True for the trainer extension: it writes its own events, so that they are not read from its output."""
        return self.states is not None


@dataclass(frozen=True)
class Plan:
    """A whole run: where it lives, its files, and its steps in order of execution."""

    name: str
    folder: Path
    files: tuple[PlannedFile, ...]
    steps: tuple[Step, ...]
    rehearsal: bool = False
    notes: tuple[Finding, ...] = ()
    """Warnings and facts worth a line on the screen."""

    def only(self, steps: frozenset[str]) -> Plan:
        """The plan with these steps alone."""
        return replace(self, steps=tuple(step for step in self.steps if step.id in steps))
