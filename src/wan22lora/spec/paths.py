"""Paths as people write them in YAML: relative to the file, with `~` and environment variables."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from wan22lora.errors import SpecError

_DRIVE = re.compile(r"([A-Za-z]):[\\/]+")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


class UnknownVariableError(ValueError):
    """A path names an environment variable that is not set."""


class ImpossiblePathError(ValueError):
    """No file can have this path; the message reads on after the key."""


def resolve_path(text: str, base: Path) -> Path:
    """The absolute path meant by `text` in a file that lies in `base`. Raises UnknownVariableError and
    ImpossiblePathError.
    """
    drive = _DRIVE.match(text)
    if drive and os.name != "nt":
        inside = text[drive.end() :].replace("\\", "/")
        raise ImpossiblePathError(f"is a path of Windows; under WSL it is /mnt/{drive[1].lower()}/{inside}")
    expanded = os.path.expandvars(text)
    unset = _VARIABLE.search(expanded) if "$" in text else None
    if unset and unset.group(1).strip("{}") not in os.environ:
        raise UnknownVariableError(unset.group(1).strip("{}"))
    if "\0" in expanded:
        raise ImpossiblePathError("holds a zero byte, which no path can")
    try:
        return absolute(base / Path(expanded).expanduser())
    except RuntimeError:  # `~name` of a user whom the system does not know
        raise ImpossiblePathError(_no_home(expanded)) from None


def path_from(path: Path, named_by: str) -> Path:
    """The absolute path that a person gave on the command line or in a variable, called `named_by` in messages.

    Raises SpecError.
    """
    try:
        return absolute(path.expanduser())
    except RuntimeError:
        raise SpecError(f"{named_by}: {_no_home(str(path))}") from None


def similar(path: Path, *endings: str) -> Path | None:
    """A folder, or a file with one of the endings, that may have been meant by the name of one that is not there."""
    try:
        names = [each.name for each in path.parent.iterdir() if each.suffix.lower() in endings or each.is_dir()]
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, [name for name in names if name[0] != "."], n=1, cutoff=0.75)
    return path.with_name(close[0]) if close else None


def _no_home(text: str) -> str:
    return f"{text.split('/')[0]} is no user's home folder here"


def absolute(path: Path) -> Path:
    """Without `..`, symbolic links left as they are: a virtual environment's Python is one."""
    return Path(os.path.abspath(path))  # noqa: PTH100
