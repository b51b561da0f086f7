"""Room on disks and in shared memory."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Space:
    """The file system that a folder lies on, or would lie on."""

    folder: Path
    """The folder asked about; it need not exist."""
    existing: Path
    """The nearest folder above it that does."""
    device: int
    """Equal for folders that share their room."""
    total: int
    """Bytes."""
    free: int
    """Bytes that this user may still write."""
    writable: bool


def space_at(folder: Path) -> Space | None:
    """The room where `folder` is or would be; None where the file system does not tell."""
    existing = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if existing is None:
        return None
    try:
        usage = shutil.disk_usage(existing)
        device = existing.stat().st_dev
    except OSError:
        return None
    return Space(folder, existing, device, usage.total, usage.free, os.access(existing, os.W_OK | os.X_OK))


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder; of those that vanish meanwhile nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(place) / name).stat().st_size
    return total
