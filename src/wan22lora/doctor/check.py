"""The result of one check, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Check:
    """What was found out about one thing, and what to type where it is not right."""

    name: str
    """Stable, for programs: `gpu-memory`."""
    status: Status
    text: str
    """One or two sentences."""
    fix: str = ""
    """A command where there is one."""


def ok(name: str, text: str) -> Check:
    return Check(name, "ok", text)


def warning(name: str, text: str, fix: str = "") -> Check:
    return Check(name, "warning", text, fix)


def failure(name: str, text: str, fix: str = "") -> Check:
    """For what must be right before a run can start."""
    return Check(name, "failure", text, fix)


def gb(count: float) -> str:
    """Bytes as GB, which disks and RAM are counted in here."""
    return f"{count / 1e9:,.0f} GB" if count >= 20e9 else f"{count / 1e9:.1f} GB"


def gib(count: float) -> str:
    """Bytes as GiB, as nvidia-smi and torch count the memory of a GPU."""
    return f"{count / 2**30:.1f} GiB"
