"""A contact sheet's file: there whole or not at all, and never in the place of something else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from wan22lora.check.checked import Checked
from wan22lora.errors import SpecError
from wan22lora.files import written
from wan22lora.sheet.content import content_of
from wan22lora.sheet.page import GENERATOR, page
from wan22lora.sheet.thumbnails import thumbnails

_HEAD = 1000
"""Bytes in which a sheet says that it is one."""


def refuse_foreign(file: Path) -> None:
    """Raises SpecError where a sheet cannot be written or something other than a sheet would be lost."""
    if file.is_dir():
        raise SpecError(f"{file} is a folder", fix=f"Name a file in it: {file / 'sheet.html'}")
    if not file.absolute().parent.is_dir():
        raise SpecError(f"the folder of {file} does not exist", fix="Make it first, or name another.")
    if os.path.lexists(file) and not _is_sheet(file):
        raise SpecError(
            f"{file} is there already and is no contact sheet; it was left as it is", fix="Choose another name."
        )


def write_sheet(file: Path, checked: Checked, price: float | None = None) -> None:
    """Raises SpecError as `refuse_foreign`, and MachineError where the disk refuses."""
    refuse_foreign(file)
    content = content_of(checked, price)
    _write(file, page(content, thumbnails(content.entries), file.absolute().parent))


def _write(file: Path, pieces: Iterable[str]) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with written(file):
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as out:
                for piece in pieces:
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def _is_sheet(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return f'<meta name="generator" content="{GENERATOR}">'.encode() in content.read(_HEAD)
    except OSError:
        return False
