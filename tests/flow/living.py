"""Whether a process lives, as tests ask of one that must not."""

from __future__ import annotations

from pathlib import Path


def pid_alive(pid: int) -> bool:
    """True while a process of this number exists and is more than a zombie, which nobody may ever collect."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return text.rpartition(b")")[2].split()[0] not in (b"Z", b"X")
