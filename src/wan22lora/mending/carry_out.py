"""Doing what was agreed to. Killed anywhere in it, nothing is lost, and the same command does the rest.

Of a picture the original is kept first, under its own name, and then replaced in one step. Of a link the link is kept,
and what it leads to is never touched (docs/decisions/0014). Captions go through captions/changes.py, which writes down
what it does before it does it.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from wan22lora.captions import changes
from wan22lora.dataset.problems import counted, listed
from wan22lora.errors import DatasetError, MachineError
from wan22lora.files import written
from wan22lora.mending.plan import Mending, Renaming, by_folder
from wan22lora.mending.upright import NotTurnedError, upright

_FEW = 3
"""Files for which the way back is told one by one."""


def carry_out(mending: Mending, what: str) -> Iterator[str]:
    """Says what was done and how it is taken back; `what` is the command that was typed.

    Raises MachineError where the disk refuses and DatasetError where files changed meanwhile; what was done until then
    stays done and whole.
    """
    for renaming in mending.renamings:
        yield from _rename(renaming, what)
    yield from _rewrite(mending.rewritten, what)
    for folder, paths in by_folder(mending.turns).items():
        yield from _turn(folder, paths)


def _rename(renaming: Renaming, what: str) -> Iterator[str]:
    lost = {new for _, new in renaming.names} - {old for old, _ in renaming.names}
    if any(os.path.lexists(renaming.folder / name) for name in lost):
        raise DatasetError(f"Captions of {renaming.folder} changed meanwhile; none was renamed.", fix=what)
    left = changes.carry_out(changes.renamed(renaming.folder, renaming.names), what)
    yield f"{counted(len(renaming.names), 'caption')} renamed. `{_undo(renaming.folder)}` takes it back."
    yield from _left(left)


def _rewrite(rewritten: Sequence[tuple[Path, str]], what: str) -> Iterator[str]:
    texts = dict(rewritten)
    for folder, files in by_folder(list(texts)).items():
        made = changes.changes_to({file: texts[file].encode() for file in files})
        left = changes.carry_out(made, what)
        yield f"{counted(len(made), 'caption')} saved as UTF-8. `{_undo(folder)}` takes it back."
        yield from _left(left)


def _undo(folder: Path) -> str:
    return shlex.join(["wan22lora", "captions", "undo", str(folder)])


def _left(files: Sequence[Path]) -> Iterator[str]:
    if files:
        yield f"Edited in that moment and left as they are: {listed([file.name for file in files])}."


def _turn(folder: Path, paths: list[Path]) -> Iterator[str]:
    originals = _folder_for_originals(folder, paths)
    done: list[Path] = []
    try:
        for path in paths:
            with written(path):
                content = path.read_bytes()
                try:
                    turned = upright(content)
                except NotTurnedError as problem:
                    yield f"{path.name} was left as it is: {problem}."
                    continue
                _keep(content, path, originals / path.name)
                _replace(path, turned)
            done.append(path)
    except MachineError:
        yield from _turned(originals, done)
        raise
    yield from _turned(originals, done)


def _turned(originals: Path, done: list[Path]) -> Iterator[str]:
    if done:
        yield f"{counted(len(done), 'picture')} turned upright; as they were they lie in {originals}."
        yield f"To take it back: {_way_back(originals, done)}"


def _folder_for_originals(folder: Path, paths: list[Path]) -> Path:
    """Beside the pictures' folder, where musubi-tuner does not look: the first in which no name means another file."""
    number = 1
    while True:
        originals = folder.with_name(f"{folder.name}-originals{'' if number == 1 else f'-{number}'}")
        if all(_is_free(originals / path.name, path) for path in paths):
            return originals
        number += 1


def _is_free(place: Path, path: Path) -> bool:
    """True also where the very file lies already, as after an interruption."""
    if not os.path.lexists(place):
        return True
    if place.is_symlink() or path.is_symlink():
        return place.is_symlink() and path.is_symlink() and place.readlink() == path.readlink()
    with suppress(OSError):
        return place.is_file() and place.read_bytes() == path.read_bytes()
    return False


def _keep(content: bytes, path: Path, place: Path) -> None:
    if os.path.lexists(place):
        return
    place.parent.mkdir(exist_ok=True)
    if path.is_symlink():
        place.symlink_to(path.readlink())
        return
    temporary = place.with_name(f".{place.name}.tmp")
    try:
        _write(temporary, content, path)
        with suppress(OSError):
            shutil.copystat(path, temporary)
        temporary.rename(place)
    finally:
        temporary.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    """In place of a link the link goes, and what it leads to stays as it is."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        _write(temporary, content, path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: Path, content: bytes, like: Path) -> None:
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    with suppress(OSError):
        shutil.copymode(like, file)


def _way_back(originals: Path, done: list[Path]) -> str:
    if len(done) <= _FEW:
        return " && ".join(shlex.join(["mv", "--", str(originals / path.name), str(path)]) for path in done)
    folder = done[0].parent
    return f"mv -- {shlex.quote(str(originals))}/* {shlex.quote(str(folder))}/"
