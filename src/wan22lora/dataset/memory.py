"""What files were seen to be, so that those that have not changed since are not opened again.

Kept in the user's cache folder, one file for each folder of pictures, and never beside the pictures. A file counts as
unchanged when size, modification and change time (nanoseconds) and inode are the same. What is damaged, of another
version or made with other decoders counts as never seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from wan22lora.files import write_text

Value = TypeVar("Value")
Stamp = tuple[int, int, int, int]
"""Size, modification time, change time, inode."""

VERSION = 1
"""To be raised whenever what is seen of a file, or how it is written down, changes."""
SETTLED = 2.0
"""Seconds since a file's last change before what is seen of it is kept: a change within one tick of its file system's
clock (two seconds on FAT) leaves the times as they were."""
MOST_FOLDERS = 200
MOST_BYTES = 256 * 2**20
"""What is kept of all folders; beyond it the folders go that were looked at longest ago."""

_Facts = dict[str, Any]


class Memory:
    """Of files, by path. Without a folder nothing outlives it, with one only what `save` writes. Safe in threads."""

    def __init__(self, folder: Path | None = None, made_with: str = "") -> None:
        self._folder = folder
        self._made_with = f"{VERSION} {made_with}"
        self._folders: dict[str, dict[str, tuple[Stamp, _Facts]]] = {}
        self._asked: set[str] = set()
        self._changed: set[str] = set()

    def recall(self, path: str | Path, what: str) -> Any | None:
        """What is kept of the file as it is now; None for nothing."""
        place = os.path.abspath(path)  # noqa: PTH100 - Path.absolute leaves `..`
        folder, name = os.path.split(place)
        self._asked.add(place)
        known = self._of(folder).get(name)
        return known[1].get(what) if known is not None and known[0] == stamp_of(place) else None

    def remembered(
        self,
        path: str | Path,
        what: str,
        see: Callable[[], Value],
        read: Callable[[Any], Value],
        write: Callable[[Value], object],
    ) -> Value:
        """What `see` said of the file, or says now.

        `write` makes JSON of it, None for what is not to be kept; `read` undoes it and raises for what it did not
        write. What `see` raises is not kept.
        """
        kept = self.recall(path, what)
        if kept is not None:
            try:
                return read(kept)
            except (ValueError, TypeError, KeyError, IndexError, AttributeError):
                pass
        stamp = stamp_of(path)
        value = see()
        if stamp is not None and stamp_of(path) == stamp and _is_settled(stamp):
            self._keep(path, stamp, what, write(value))
        return value

    def _keep(self, path: str | Path, stamp: Stamp, what: str, written: object) -> None:
        if written is None:
            return
        folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
        known = self._of(folder)
        before = known.get(name)
        facts = before[1] if before is not None and before[0] == stamp else {}
        known[name] = stamp, {**facts, what: written}
        self._changed.add(folder)

    def save(self) -> None:
        """Writes what is new. A cache that cannot be written only costs time, so nothing is raised for it."""
        if self._folder is None or not self._changed:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for folder in sorted(self._changed):
                write_text(self._file(folder), self._text(folder))
            self._changed.clear()
            _forget_oldest(self._folder)
        except OSError:
            pass

    def _of(self, folder: str) -> dict[str, tuple[Stamp, _Facts]]:
        known = self._folders.get(folder)
        if known is None:
            known = self._folders.setdefault(folder, dict(self._read(folder)))
        return known

    def _file(self, folder: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}.json"

    def _text(self, folder: str) -> str:
        files = {
            name: [stamp, facts]
            for name, (stamp, facts) in self._folders[folder].items()
            if (place := os.path.join(folder, name)) in self._asked or os.path.lexists(place)  # noqa: PTH118
        }
        body = json.dumps({"folder": folder, "made_with": self._made_with, "files": files})
        return f"{_sum(body.encode())}\n{body}\n"

    def _read(self, folder: str) -> Iterator[tuple[str, tuple[Stamp, _Facts]]]:
        if self._folder is None:
            return
        try:
            file = self._file(folder)
            if not stat.S_ISREG(file.stat().st_mode) or file.stat().st_size > MOST_BYTES:
                return
            told, _, body = file.read_bytes().rstrip(b"\n").partition(b"\n")
            if told.decode() != _sum(body):
                return
            data = json.loads(body)
            if (data["folder"], data["made_with"]) == (folder, self._made_with):
                yield from ((name, (tuple(stamp), facts)) for name, (stamp, facts) in data["files"].items())
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return


def kept_in(folder: Path) -> Memory:
    """A memory that outlives the process, for as long as the decoders stay the same."""
    from importlib.metadata import version

    return Memory(folder, " ".join(f"{package} {version(package)}" for package in ("pillow", "av")))


def number_kept(kept: Any) -> float | None:
    """Of `[number]`, as one that may be None is kept."""
    (number,) = kept
    return None if number is None else float(number)


def stamp_of(path: str | Path) -> Stamp | None:
    """None for what is no file, or is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _is_settled(stamp: Stamp) -> bool:
    return time.time() - max(stamp[1], stamp[2]) / 1e9 > SETTLED


def _sum(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _forget_oldest(folder: Path) -> None:
    files = sorted(((found.st_mtime, found.st_size, path) for path, found in _kept(folder)), reverse=True)
    total = 0
    for index, (_, size, path) in enumerate(files):
        total += size
        if index >= MOST_FOLDERS or total > MOST_BYTES:
            path.unlink(missing_ok=True)


def _kept(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.glob("*.json"):
        try:
            yield path, path.stat()
        except OSError:  # another process forgot it
            continue
