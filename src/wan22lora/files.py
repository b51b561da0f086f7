"""Small files that are there whole or not at all, and what is said when the disk refuses."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from wan22lora.errors import MachineError, command

_CLOSED = (errno.EACCES, errno.EPERM)
_REFUSALS = (*_CLOSED, errno.EROFS, errno.ENOSPC, errno.EIO, *map(errno.__dict__.get, ("EDQUOT", "ESTALE")))


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    _write(path, [text])


def _write(path: Path, parts: Iterable[str]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON object whole or not at all. It is written as it is spelled out, never as one long text."""
    _write(path, chain(json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value), ["\n"]))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if the file is missing, damaged or holds something else."""
    try:
        value = _parsed(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _parsed(data: bytes) -> object:
    """By pydantic's parser, which makes one text of equal ones: a manifest of thousands then takes less memory.

    What it refuses and Python's takes are halves of characters.
    """
    try:
        return from_json(data, cache_strings="all")
    except ValueError:
        return json.loads(data)


def read_file(path: Path, most: int) -> bytes:
    """What is in a file of at most so many bytes.

    Raises OSError for what cannot be read, and for what would be read without end: pipes, devices, larger files.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OSError(None, "no file, but a pipe or a device")
    if found.st_size > most:
        raise OSError(None, f"it has over {most >> 20} MiB")
    return path.read_bytes()


@contextmanager
def written(place: Path) -> Iterator[None]:
    """Turn what a disk refuses (full, read-only) into a MachineError that names the file."""
    try:
        yield
    except OSError as error:
        where = error.filename or place
        raise MachineError(f"{where} cannot be written: {error.strerror or error}.") from error


def refusal(error: OSError) -> MachineError | None:
    """What a disk or the rights to it refuse, naming the file; None for an error that may be a mistake of ours."""
    if error.errno not in _REFUSALS or not isinstance(error.filename, str | bytes):
        return None
    path = os.fsdecode(error.filename)
    shown = f"{command('namei', '-l', path)}  shows whose each folder is" if error.errno in _CLOSED else ""
    return MachineError(f"{path}: {error.strerror}", fix=shown)
