"""One caption file: what is in it, and putting something else in its place. All that writes captions ends here."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from wan22lora.captions.journal import FOLDER, Change, Content, Link
from wan22lora.errors import DatasetError, Finding
from wan22lora.files import read_file

_TEMPORARY = "writing.tmp"
_AT_ONCE = 8
_REFUSALS = (errno.ENOSPC, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC))
_LARGEST = 1 << 24
"""Bytes of a caption's file; more is none."""


def content_of(file: Path) -> bytes | None:
    """What is in a caption file now; None where there is none. Raises DatasetError where it cannot be read."""
    with _told(file):
        return _read(file)


def held_at(file: Path) -> Content:
    """As `content_of`, but a link as a link, whatever it leads to."""
    return Link(os.readlink(file)) if file.is_symlink() else content_of(file)  # noqa: PTH115 - the text as it stands


def as_now(change: Change) -> Content:
    """What is there, as the change sees it: through links, unless links are what it changes. Raises DatasetError."""
    with _told(change.file):
        return now_in_place_of(change)


def now_in_place_of(change: Change) -> Content:
    """As `as_now`, in the middle of writing. Raises OSError."""
    return Link(os.readlink(change.file)) if _on_links(change) and change.file.is_symlink() else _read(change.file)  # noqa: PTH115


def put(change: Change, content: Content) -> None:
    """Bring the change's file to its one or other content, whole or not at all. Raises OSError."""
    file = change.file
    if content is None:
        file.unlink(missing_ok=True)
        return
    # A caption that is a link stays one: what it points to is replaced. Unless the link itself is moved.
    real = file if _on_links(change) else Path(os.path.realpath(file))
    own = real.parent == file.parent or real.parent == Path(os.path.realpath(file.parent))
    temporary = file.parent / FOLDER / _TEMPORARY if own else real.with_name(f".{_TEMPORARY}.{os.getpid()}")
    try:
        if isinstance(content, Link):
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(content.target)
        else:
            temporary.write_bytes(content)
            if real.exists() and not real.is_symlink():
                temporary.chmod(real.stat().st_mode & 0o7777)
        temporary.replace(real)
    finally:
        temporary.unlink(missing_ok=True)


def to_disk(files: Iterable[Path]) -> None:
    """Wait until the files are on the disk. Raises OSError where it refuses.

    A disk keeps one waiting for each file, and takes many at once in about the time of one.
    """
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for _ in threads.map(_to_disk, files):
            pass


def _to_disk(file: Path) -> None:
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return  # it was removed
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in _REFUSALS:  # else a file system that cannot
            raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        os.close(handle)


def _on_links(change: Change) -> bool:
    return isinstance(change.old, Link) or isinstance(change.new, Link)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        finding = Finding(str(file), f"the caption cannot be read ({problem.strerror})", "Make it readable.")
        raise DatasetError("Not every caption could be read; nothing was changed.", findings=[finding]) from problem


def _read(file: Path) -> bytes | None:
    try:
        return read_file(file, _LARGEST)
    except FileNotFoundError:
        return None
