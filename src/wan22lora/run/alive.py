"""Which processes live: read from /proc where there is one, else asked of the kernel by signal 0."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


class _Stat(NamedTuple):
    state: str
    group: int
    birth: int


def birth(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone or there is no /proc.

    A pid comes back into use; pid and birth together do not (before the next boot).
    """
    stat = _stat(pid)
    return stat.birth if stat else None


def members(group: int) -> tuple[int, ...] | None:
    """The pids of a process group that still run; None where there is no /proc.

    Zombies do not count: in a container without an init process nobody ever collects them.
    """
    if not _has_proc():
        return None
    pids = (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit())
    stats = ((pid, _stat(pid)) for pid in pids)
    return tuple(pid for pid, stat in stats if stat and stat.group == group and stat.state not in "ZX")


def group_alive(group: int) -> bool:
    """True while any process of the group runs."""
    living = members(group)
    return bool(living) if living is not None else _answers(group)


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The second field is the program's name in brackets and may itself hold blanks and brackets.
    fields = text.rpartition(b")")[2].split()
    return _Stat(fields[0].decode("ascii"), int(fields[2]), int(fields[19]))


def _answers(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # the latter is what macOS answers for a group of zombies
        return False
    return True
