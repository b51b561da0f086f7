"""The part of a file that has arrived: appended to, hashed as it is written, kept for the next try."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_BLOCK = 1 << 20


def part_path(target: Path, etag: str) -> Path:
    """Named after the content, so that the part of another version is never continued."""
    return target.with_name(f".{target.name}.{etag[:16]}.part")


def part_size(target: Path) -> int:
    """Bytes of the file that have arrived in earlier tries, as far as they can be told without asking the hub."""
    sizes = [0]
    for path in _parts(target):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return max(sizes)


def drop_other_parts(target: Path, keep: Path) -> None:
    """Parts of versions that the hub no longer offers."""
    for path in _parts(target):
        if path != keep:
            with suppress(OSError):
                path.unlink()


def _parts(target: Path) -> list[Path]:
    if not target.parent.is_dir():
        return []
    return [
        path
        for path in target.parent.iterdir()
        if path.name.startswith(f".{target.name}.") and path.name.endswith(".part")
    ]


class Part:
    """A file object for huggingface_hub's http_get, which asks for write, tell, seek and truncate.

    Unbuffered, so that whatever was written is there after a kill. `advanced` hears every change of its length.
    """

    def __init__(self, path: Path, size: int | None, advanced: Callable[[int], None]) -> None:
        self.path = path
        self.name = str(path)
        self._size = size
        self._advanced = advanced
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self._read_again()

    def __enter__(self) -> Part:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    @property
    def length(self) -> int:
        return self._file.tell()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def git_blob(self) -> str:
        """git's hash of a file of the announced size."""
        return self._git_blob.hexdigest()

    def empty(self) -> None:
        """Starts again from the first byte."""
        self._advanced(-self.length)
        self._file.seek(0)
        self._file.truncate()
        self._read_again()

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while len(view):
            written = self._file.write(view)
            self._hash(bytes(view[:written]))
            self._advanced(written)
            view = view[written:]
        return len(data)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        before = os.fstat(self._file.fileno()).st_size
        after = self._file.truncate(size)
        self._advanced(after - before)
        self._read_again()
        return after

    def flush(self) -> None:
        """Nothing is buffered here."""

    def to_disk(self) -> None:
        """What was written survives a power cut."""
        os.fsync(self._file.fileno())

    def _hash(self, data: bytes) -> None:
        self._sha256.update(data)
        if self._is_small:
            self._git_blob.update(data)

    def _read_again(self) -> None:
        self._sha256 = hashlib.sha256()
        self._git_blob = hashlib.sha1(b"blob %d\0" % (self._size or 0), usedforsecurity=False)
        self._is_small = self._size is not None and self._size < 100 * _BLOCK
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            self._hash(block)
