"""The states that a training left in the run folder: what it can be continued from, and what it was trained with.

A folder named `step-00000120` is whole, because the trainer renames it last; `key.json` beside the states is the
training's key (plan/training.py). `finished-00000300.json` is the key of the training that had its end at that step
and is being extended: while no state lies beyond it, that training is still the finished one. Their folders are
found as the trainer finds them (trainer/finding.py); here it is also told what is wrong with a damaged one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wan22lora.files import read_json
from wan22lora.trainer.finding import FORMAT, in_order_of_steps

FOLDER = "states"
"""Its name in the run folder; a training has a folder of its own in it."""
KEY_FILE = "key.json"
FINISHED_FILES = "finished-*.json"


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
    finished: Mapping[str, str] = field(default_factory=dict)
    """The key of the finished training that an extension has not trained beyond yet; `key` is the same then."""
    damaged: tuple[str, ...] = ()
    """The damaged states that are newer than `newest`, each with what is wrong, the newest first."""


def finished_file(step: int) -> str:
    """The name under which an extension keeps the key of the training that ended with that optimizer step."""
    return f"finished-{step:08d}.json"


def states_of(run_folder: Path, step_id: str) -> Path:
    """Where the states of a training are."""
    return run_folder / FOLDER / step_id


def read_states(folder: Path) -> Kept:
    """What a training left in its states' folder; nothing of a folder that is not there or cannot be read."""
    damaged: list[str] = []
    newest = None
    paths = _newest_first(folder)
    for path in paths:
        found = _state(path)
        if isinstance(found, State):
            newest = found
            break
        damaged.append(f"{path.name} ({found})")
    if newest is not None and newest.path == paths[0]:
        finished = _key(folder / finished_file(newest.step))
        if finished:  # the state may bear the total of the extension, saved anew when that was stopped
            return Kept(replace(newest, total=newest.step), finished, finished)
    return Kept(newest, _key(folder / KEY_FILE), damaged=tuple(damaged))


def _newest_first(folder: Path) -> list[Path]:
    try:
        return in_order_of_steps(folder)[::-1]
    except OSError:
        return []


def _key(path: Path) -> dict[str, str]:
    key = read_json(path)
    return key if all(isinstance(value, str) for value in key.values()) else {}


def _state(path: Path) -> State | str:
    """The state, or what is wrong with one that lost something or that another version's trainer wrote."""
    facts = read_json(path / "state.json")
    step, total, size = facts.get("step"), facts.get("total"), facts.get("bytes")
    if not facts:
        return "state.json is missing or damaged"
    if facts.get("format") != FORMAT or not (isinstance(step, int) and isinstance(total, int)):
        return "of another version"
    try:
        found = (path / "state.pt").stat().st_size
    except OSError:
        return "state.pt is missing"
    if found != size:
        expected = f"{size:,}" if isinstance(size, int) else "another number"
        return f"{found:,} byte{'' if found == 1 else 's'}, {expected} expected"
    return State(path, step, total)
