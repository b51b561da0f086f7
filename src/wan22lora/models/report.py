"""The lines that `wan22lora models` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from wan22lora.errors import command
from wan22lora.models.previous import kept_files, what_becomes_of
from wan22lora.models.progress import gigabytes
from wan22lora.models.state import Standing
from wan22lora.models.use import Inventory


def table(models: Path, found: Iterable[Standing]) -> Iterator[str]:
    """One line for each name: what, size, state, path."""
    rows = list(_together(found))
    width = max((len(row.file.name) for row in rows), default=0)
    yield f"models: {models}"
    for row in rows:
        size = gigabytes(row.arrived if row.state == "here" else row.file.size)
        yield f"{row.file.name:{width}}  {size:>9}  {_state(row)}"
        yield f"{'':{width}}  {'':>9}  {_shown(row)}"
    for path in kept_files(models, (row.file for row in rows)):
        yield f"kept when another took its place, {gigabytes(path.stat().st_size)}; if nobody wants it:"
        yield f"  {command('rm', path)}"


def plan_lines(models: Path, wanted: Iterable[Standing]) -> Iterator[str]:
    """What a fetch is about to do."""
    wanted = tuple(wanted)
    if not wanted:
        yield f"Everything is here: {models}"
        return
    for row in _together(wanted):
        revision = (row.file.revision or "main")[:12]
        path = row.file.path.rpartition("/")[0] if row.file.role == "tokenizer" else row.file.path
        kept = f", {gigabytes(row.arrived)} of it are here" if row.arrived else ""
        yield f"{row.file.name}: {gigabytes(row.file.size)}{kept}"
        yield f"  {row.file.repository}@{revision} {path}"
        if row.state == "wrong":
            yield f"  {row.path} {row.why}"
            yield f"  it {what_becomes_of(models, row)}"
    yield f"{gigabytes(sum(row.left for row in wanted))} to fetch into {models}"


def summary(wanted: Iterable[Standing]) -> str:
    """After a fetch."""
    names = ", ".join(dict.fromkeys(row.file.name for row in wanted))
    return f"Fetched and checked: {names}"


def inventory_lines(found: Inventory) -> Iterator[str]:
    """What a folder has."""
    for file, path in found.usable:
        if file.role != "tokenizer":
            yield f"{file.name}: {path}"
    missing = [file for file in found.missing if file.role != "tokenizer"]
    if missing:
        names = ", ".join(file.name for file in missing)
        size = gigabytes(sum(file.size for file in missing))
        yield f"not there: {names} ({size}; `wan22lora models fetch` would fetch what a task needs into this folder)"
    for finding in found.others:
        yield f"not used: {finding}"


def _together(found: Iterable[Standing]) -> Iterator[Standing]:
    """The tokenizer's files as one: the first that is not here stands for all."""
    tokenizer: list[Standing] = []
    for row in found:
        if row.file.role != "tokenizer":
            if tokenizer:
                yield _whole(tokenizer)
                tokenizer = []
            yield row
        else:
            tokenizer.append(row)
    if tokenizer:
        yield _whole(tokenizer)


def _whole(rows: list[Standing]) -> Standing:
    from dataclasses import replace

    worst = next((row for row in rows if row.state != "here"), rows[0])
    whole = replace(worst.file, size=sum(row.file.size for row in rows))
    return replace(worst, file=whole, path=worst.path.parent, arrived=sum(row.arrived for row in rows))


def _state(row: Standing) -> str:
    if row.state == "wrong":
        return f"wrong: {row.why}"
    if row.state != "here" and row.arrived:
        return f"{row.state}, {gigabytes(row.arrived)} so far"
    return row.state


def _shown(row: Standing) -> str:
    return str(row.path)
