"""A Python for musubi's environment: 3.10 to 3.12, whatever Python runs wan22lora itself."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wan22lora.errors import MachineError
from wan22lora.musubi.environment import OLDEST_PYTHON, TOO_NEW_PYTHON
from wan22lora.run.ask import ask

_NAMES = ("python3.12", "python3.11", "python3.10", "python3", "python")
_QUESTION = (
    "import importlib.util as u, json, sys; "
    "able = u.find_spec('venv') and u.find_spec('ensurepip'); "
    "print(json.dumps([*sys.version_info[:2], bool(able)]))"
)
_SECONDS = 30.0


@dataclass(frozen=True)
class Interpreter:
    """A Python that can carry musubi's environment."""

    path: Path
    version: tuple[int, int]
    can_venv: bool
    """False where a distribution has put venv's pip into a package of its own, as Debian and Ubuntu do."""


def find_interpreter(*, with_pip: bool) -> Interpreter | None:
    """The first that fits: our own, then those on PATH, newest first.

    `with_pip` prefers one that can make an environment by itself, which uv does not need; where none can, the first
    of the others is returned, so that a person can be told what to install for it.
    """
    lesser: Interpreter | None = None
    for path in _candidates():
        found = _asked(path)
        if found is None:
            continue
        if found.can_venv or not with_pip:
            return found
        lesser = lesser or found
    return lesser


def python_works(python: Path) -> bool:
    """Whether an environment's Python starts, and is one that musubi takes."""
    return python.exists() and _asked(python) is not None


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable)
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            yield Path(found)


def _asked(python: Path) -> Interpreter | None:
    try:
        answer = ask((str(python), "-I", "-c", _QUESTION), timeout=_SECONDS)
        major, minor, can_venv = json.loads(answer.stdout)
    except (MachineError, ValueError):  # a shim without a Python behind it, a broken link, a program that is no Python
        return None
    version = (int(major), int(minor))
    return Interpreter(python, version, bool(can_venv)) if OLDEST_PYTHON <= version < TOO_NEW_PYTHON else None
