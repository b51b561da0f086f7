"""Finding states on the disk: for the trainer, also while torch is half imported, for the plan and for rehearsals.

A state is a folder `step-00000120` with `state.pt` and `state.json`. Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Found:
    """A whole state on the disk."""

    path: Path
    facts: Mapping[str, Any]


def newest_state(folder: Path) -> Found | None:
    """The whole state of the highest step; those whose file has another size than it was given are passed over."""
    return next(filter(None, map(found_at, reversed(in_order_of_steps(folder)))), None)


def found_at(path: Path) -> Found | None:
    """The state in a folder with a state's name, if it is whole."""
    try:
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
        size = (path / "state.pt").stat().st_size
    except (OSError, ValueError):
        return None
    whole = isinstance(facts, dict) and facts.get("format") == FORMAT and facts.get("bytes") == size
    return Found(path, facts) if whole else None


def in_order_of_steps(folder: Path) -> list[Path]:
    """The folders with a state's name, those of damaged states too."""
    if not folder.is_dir():
        return []
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]


def superseded(folder: Path, keep: int) -> list[Path]:
    """What goes so that the newest `keep` whole states stay, nothing where none is whole.

    Damaged ones go too: counted as states they would push out whole ones.
    """
    paths = in_order_of_steps(folder)
    whole = [path for path in paths if found_at(path) is not None]
    return [path for path in paths if path not in whole[-keep:]] if whole else []
