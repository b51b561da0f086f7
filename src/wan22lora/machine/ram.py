"""How much RAM programs here may use: what the machine has, and what a container's control groups leave of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED = 1 << 60
"""Control groups of version 1 say `no limit` as a number of about 2^63."""


@dataclass(frozen=True)
class Ram:
    """Bytes."""

    total: int
    """What programs here may use at most, all together: the machine's, or the container's limit."""
    available: int
    """What is left of it; files that the kernel merely keeps in memory count as free."""
    limited: bool = False
    """A container (or another control group) allows less than the machine has."""


@dataclass(frozen=True)
class _Layout:
    """Where a version of control groups keeps its numbers."""

    folder: str
    limit: str
    usage: str
    cached: tuple[str, ...]
    """Lines of memory.stat that count file pages, which the kernel gives up when somebody needs the room."""


_VERSION_2 = _Layout("", "memory.max", "memory.current", ("inactive_file", "active_file"))
_HYBRID = _Layout("unified", "memory.max", "memory.current", ("inactive_file", "active_file"))
_VERSION_1 = _Layout(
    "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
)


def read_ram(root: Path = Path("/")) -> Ram | None:
    """The RAM as /proc/meminfo and /sys/fs/cgroup under `root` tell it; None where there is no /proc (not Linux)."""
    meminfo = _numbers(root / "proc" / "meminfo")
    if "MemTotal" not in meminfo:
        return None
    total = meminfo["MemTotal"] * 1024
    available = meminfo.get("MemAvailable", meminfo.get("MemFree", 0)) * 1024
    limited = False
    for limit, left in _limits(root):
        if limit < total:
            total, limited = limit, True
        available = min(available, left)
    return Ram(total, max(0, available), limited)


def in_container(root: Path = Path("/")) -> bool:
    """Whether this looks like the inside of a container."""
    return any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv"))


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Every limit above this process, with what is left below it."""
    for layout, group in _groups(root):
        mount = root / "sys" / "fs" / "cgroup" / layout.folder
        # Inside a container the path may be the host's; what holds here then lies at the mount itself.
        for folder in (mount / group, *(mount / parent for parent in PurePosixPath(group).parents)):
            limit = _number(folder / layout.limit)
            if limit is not None and limit < _UNLIMITED:
                stat = _numbers(folder / "memory.stat")
                used = (_number(folder / layout.usage) or 0) - sum(stat.get(name, 0) for name in layout.cached)
                yield limit, limit - max(0, used)


def _groups(root: Path) -> Iterator[tuple[_Layout, str]]:
    with suppress(OSError, UnicodeDecodeError):
        for line in (root / "proc" / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            number, controllers, path = (*line.split(":", 2), "", "")[:3]
            group = "/".join(part for part in path.split("/") if part not in ("", ".."))
            if number == "0" and not controllers:
                yield _VERSION_2, group
                yield _HYBRID, group
            elif "memory" in controllers.split(","):
                yield _VERSION_1, group


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return None  # missing, or the word `max`


def _numbers(path: Path) -> dict[str, int]:
    """Lines of a name and a number, with or without a colon between them and a unit after them."""
    numbers: dict[str, int] = {}
    with suppress(OSError, UnicodeDecodeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, *values = line.replace(":", " ").split() or [""]
            if values and values[0].isdigit():
                numbers[name] = int(values[0])
    return numbers
