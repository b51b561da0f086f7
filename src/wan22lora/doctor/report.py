"""The checks for people and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence

from wan22lora.doctor.check import Check, Status
from wan22lora.doctor.examine import Group

_MARKS = {"ok": "ok", "warning": "warning", "failure": "FAILURE"}
_INDENT = 11
_PROGRAMS = frozenset({"docker", "export", "git", "kill", "ls", "nvidia-smi", "ps", "sudo", "unset", "wan22lora"})


def all_well(groups: Sequence[Group]) -> bool:
    """Whether nothing must be put right."""
    return all(check.status != "failure" for group in groups for check in group.checks)


def as_json(groups: Sequence[Group]) -> str:
    """`{"checks": [{"name", "status", "text", "fix"}], "ok": bool}`"""
    checks = [
        {"name": check.name, "status": check.status, "text": check.text, "fix": check.fix}
        for group in groups
        for check in group.checks
    ]
    return json.dumps({"checks": checks, "ok": all_well(groups)}, indent=2, ensure_ascii=False)


def as_text(
    groups: Sequence[Group], width: int = 80, coloured: Callable[[str, Status], str] = lambda text, _: text
) -> str:
    """Lines of at most `width` columns, except where a path or a command is longer: they stay whole to be copied."""
    lines: list[str] = []
    for group in groups:
        lines += [group.title, *(line for check in group.checks for line in _lines(check, width, coloured)), ""]
    return "\n".join([*lines, summary(groups)])


def summary(groups: Sequence[Group]) -> str:
    """The last line."""
    statuses = [check.status for group in groups for check in group.checks]
    failures, warnings = statuses.count("failure"), statuses.count("warning")
    said = f"{warnings} warning{'' if warnings == 1 else 's'}, {statuses.count('ok')} ok"
    if failures:
        return f"{failures} thing{' must' if failures == 1 else 's must'} be put right; {said}."
    return f"Nothing must be put right; {said}."


def _lines(check: Check, width: int, coloured: Callable[[str, Status], str]) -> Iterator[str]:
    indent = " " * _INDENT
    first, *rest = _wrapped(check.text, width, indent)
    mark = _MARKS[check.status]
    yield f"  {coloured(mark, check.status)}{' ' * (_INDENT - 2 - len(mark))}{first.strip()}"
    yield from rest
    if check.fix:
        is_command = check.fix.split()[0] in _PROGRAMS
        yield from [f"{indent}→ {check.fix}"] if is_command else _wrapped(check.fix, width, f"{indent}  ", "→ ")


def _wrapped(text: str, width: int, indent: str, bullet: str = "") -> list[str]:
    start = indent[: len(indent) - len(bullet)] + bullet
    return textwrap.wrap(
        " ".join(text.split()),
        max(width, 40),
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
