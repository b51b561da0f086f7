"""Paths as people write them in YAML: relative to the file, with `~` and environment variables."""

from __future__ import annotations

import os
import re
from pathlib import Path

_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


class UnknownVariableError(ValueError):
    """A path names an environment variable that is not set."""


def resolve_path(text: str, base: Path) -> Path:
    """The absolute path meant by `text` in a file that lies in `base`. Raises UnknownVariableError."""
    expanded = os.path.expandvars(text)
    unset = _VARIABLE.search(expanded) if "$" in text else None
    if unset and unset.group(1).strip("{}") not in os.environ:
        raise UnknownVariableError(unset.group(1).strip("{}"))
    return absolute(base / Path(expanded).expanduser())


def absolute(path: Path) -> Path:
    """Without `..`, symbolic links left as they are: a virtual environment's Python is one."""
    return Path(os.path.abspath(path))  # noqa: PTH100
