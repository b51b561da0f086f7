"""What files hold, by digest; a file is read again only when its size or times changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wan22lora.dataset.memory import Memory

_MIB = 1 << 20
Stamp = tuple[int, int, int, str]
_MOST_THREADS = 8
_WHAT = "digest"


class Contents:
    """Digests of pictures and clips, remembered between runs by size, modification and change time (nanoseconds)."""

    def __init__(self, known: Mapping[str, Stamp] | None = None, memory: Memory | None = None) -> None:
        self._known = known or {}
        self._memory = memory or Memory()
        self.seen: dict[str, Stamp] = {}
        """Every file asked for, to be remembered."""
        self._folders: dict[Path, list[Path]] = {}

    def read(self, paths: Iterable[Path]) -> None:
        """Reads the files among them that are not known, several at once."""
        new = [path for path in paths if str(path) not in self._known and self._memory.recall(path, _WHAT) is None]
        with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
            for _ in threads.map(self.digest, new):
                pass

    def digest(self, path: Path) -> str:
        """The first 16 hexadecimal digits of the SHA-256; of a folder, that of its files' names and digests.

        A file that cannot be read gives a digest that never repeats what a readable one gave.
        """
        try:
            found = path.stat()
            if stat.S_ISDIR(found.st_mode):
                children = self._folders[path] = _files_in(path)
                parts = (f"{child.name} {self.digest(child)}" for child in children)
                return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
            known = self._known.get(str(path)) or self.seen.get(str(path))
            if known is not None and tuple(known[:3]) == (found.st_size, found.st_mtime_ns, found.st_ctime_ns):
                digest = known[3]
            else:
                digest = self._memory.remembered(path, _WHAT, lambda: sha256_of(path), str, str)
        except OSError as error:
            return f"unreadable: {error.strerror}"
        self.seen[str(path)] = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, digest)
        return digest

    def times(self, path: Path) -> str:
        """Modification and change times of a file that was asked for; of a folder those of all files in it."""
        files = self._folders.get(path, [path])
        seen = (self.seen.get(str(file)) for file in files)
        return " ".join(f"{stamp[1]} {stamp[2]}" if stamp is not None else "?" for stamp in seen)

    def changed(self, path: Path) -> bool:
        """Whether a file that was asked for has been written, replaced or removed since; of a folder, any in it."""
        seen = self.seen.get(str(path))
        try:
            if path in self._folders:
                return _files_in(path) != self._folders[path] or any(map(self.changed, self._folders[path]))
            found = path.stat()
        except OSError:
            return True
        return seen is not None and seen[:3] != (found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _files_in(folder: Path) -> list[Path]:
    return [child for child in sorted(folder.iterdir()) if child.is_file()]


def fingerprint(path: Path) -> str:
    """Size and digest of a file of gigabytes, from its first and last MiB and 16 places between.

    Weights that were trained differ everywhere, so that these places tell them apart.
    """
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_MIB))
        for place in range(1, 17):
            file.seek(max(0, size - _MIB) * place // 17)
            digest.update(file.read(_MIB // 16))
        file.seek(max(0, size - _MIB))
        digest.update(file.read(_MIB))
    return f"{size:,} bytes, {digest.hexdigest()[:8]}"


def sha256_of(path: Path) -> str:
    """Its first 16 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
