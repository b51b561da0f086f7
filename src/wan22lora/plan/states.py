"""The states that a training left in the run folder: what it can be continued from, and what it was trained with.

A folder named `step-00000120` is whole, because the trainer renames it last; `key.json` beside the states is the
training's key (plan/training.py). The trainer looks for the newest state by the same signs (trainer/finding.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wan22lora.files import read_json

FOLDER = "states"
"""Its name in the run folder; a training has a folder of its own in it."""
KEY_FILE = "key.json"
FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class State:
    """A state that a training can be continued from."""

    path: Path
    step: int
    """Optimizer steps done."""
    total: int
    """How many the training was to have when the state was saved."""


@dataclass(frozen=True)
class Kept:
    """What the states' folder of one training holds."""

    newest: State | None = None
    key: Mapping[str, str] = field(default_factory=dict)
    """Empty where nothing says what the states were trained with."""


def states_of(run_folder: Path, step_id: str) -> Path:
    """Where the states of a training are."""
    return run_folder / FOLDER / step_id


def read_states(folder: Path) -> Kept:
    """What a training left in its states' folder; nothing of a folder that is not there or cannot be read."""
    key = read_json(folder / KEY_FILE)
    return Kept(
        newest=next(_newest_first(folder), None),
        key=key if all(isinstance(value, str) for value in key.values()) else {},
    )


def _newest_first(folder: Path) -> Iterator[State]:
    try:
        paths = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return
    for path in sorted(paths, key=lambda path: int(path.name.removeprefix("step-")), reverse=True):
        facts = read_json(path / "state.json")
        step, total = facts.get("step"), facts.get("total")
        if isinstance(step, int) and isinstance(total, int) and _is_whole(path, facts):
            yield State(path, step, total)


def _is_whole(path: Path, facts: Mapping[str, object]) -> bool:
    """False for a state that lost something after it was saved, or that another version's trainer wrote."""
    try:
        size = (path / "state.pt").stat().st_size
    except OSError:
        return False
    return facts.get("format") == FORMAT and facts.get("bytes") == size
