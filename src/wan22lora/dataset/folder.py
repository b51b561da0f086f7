"""Pictures or clips of a folder with their caption files.

Source: dataset/datasources.py:59-273 (pictures) and 472-580 (clips), dataset/media_utils.py:58-95 at v0.3.4.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wan22lora.dataset.entries import Entry, check_caption, is_text
from wan22lora.dataset.latents import stem_of
from wan22lora.dataset.listing import extensions_of, media_among, names_in, overlooked_among
from wan22lora.dataset.problems import Problems, counted, listed
from wan22lora.dataset.source import Kind, Source
from wan22lora.errors import Finding, Named

LARGEST_CAPTION = 1 << 20
"""Bytes of a caption's file; the text encoder reads some two thousand of them."""


def entries_in_folder(source: Source, folder: Path) -> tuple[list[Entry], list[Finding]]:
    """What musubi-tuner lists, in its order, and what is wrong with it."""
    try:
        names = names_in(folder)
    except OSError as problem:
        return [], [_no_folder(source, folder, problem)]
    findings = _overlooked(source, folder, names)
    media = media_among(names, source.kind)
    if not media:
        return [], [*findings, _nothing_found(source, folder, names)]
    problems = Problems(folder, source.noun)
    captioned = {stem_of(name) for name in names if name.endswith(source.caption_extension)}
    entries = []
    for name in media:
        if not is_text(name):
            what = "with a name that is not UTF-8, which no cache file can bear"
            problems.add("name-not-text", what, name, folder / name, fix="Rename them.")
            continue
        path = folder / name
        entries.append(Entry(path, stem_of(name), _caption(source, path, captioned, problems), name))
    return entries, [*findings, *problems.findings()]


def _caption(source: Source, path: Path, captioned: set[str], problems: Problems) -> str | None:
    file = os.path.splitext(path)[0] + source.caption_extension  # noqa: PTH122 - with_suffix needs a dot
    # v0.3.4 passes only pictures whose stem some caption file has, so never with an extension like `.en.txt`.
    filtered = source.kind == "images" and stem_of(path.name) not in captioned
    size = None if filtered else _size_of_file(file)
    if size is None:
        _complain_of_missing(source, path, problems)
        return None
    if size > LARGEST_CAPTION:
        what = f"with a caption file of over {LARGEST_CAPTION >> 20} MiB, which is no caption"
        problems.add("caption-unreadable", what, path.name, path, fix="Replace the files by captions.")
        return None
    try:
        with open(file, encoding="utf-8") as text:  # noqa: PTH123
            caption = text.read().strip()
    except UnicodeDecodeError:
        what = "with a caption that is not UTF-8: musubi-tuner stops while caching"
        fix = "Save the captions as UTF-8; `wan22lora check … --fix` shows what it reads and does it."
        problems.add("caption-not-utf8", what, path.name, path, fix=fix)
        return None
    except OSError as problem:
        what = f"with a caption that cannot be read ({problem.strerror}): musubi-tuner stops while caching"
        problems.add("caption-unreadable", what, path.name, path, fix="Make the captions readable.")
        return None
    check_caption(caption, path.name, path, problems)
    return caption


def _size_of_file(path: str) -> int | None:
    """In bytes; None for what is no file, or is not there, or lies in a folder that is closed."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _complain_of_missing(source: Source, path: Path, problems: Problems) -> None:
    what = "without a caption, at which musubi-tuner stops while caching"
    if source.kind == "images":
        what = (
            "without a caption, which musubi-tuner v0.3.4 leaves out without a word"
            " and its older revision d0a1930 stops at"
        )
    file = f"{source.caption_extension} file of the same name"
    fix = f"Write each caption into a {file} (`wan22lora captions` helps), or move the {source.noun} away."
    problems.add("caption-missing", what, path.name, path, fix=fix)


def _no_folder(source: Source, folder: Path, problem: OSError) -> Finding:
    would = f"musubi-tuner would find 0 {source.noun}s and report success"
    if isinstance(problem, FileNotFoundError):
        message = f"the folder does not exist; {would}"
        return Finding(str(folder), message, "Correct the path in run.yaml.", kind="folder-missing")
    if isinstance(problem, NotADirectoryError):
        fix = "Give the folder that holds the files; a JSONL file is listed as `jsonl`."
        return Finding(str(folder), f"this is a file, not a folder; {would}", fix, kind="folder-is-file")
    message = f"the folder cannot be read ({problem.strerror}); {would}"
    return Finding(str(folder), message, "Change its permissions.", kind="folder-unreadable")


def _overlooked(source: Source, folder: Path, names: list[str]) -> list[Finding]:
    overlooked = overlooked_among(names, source.kind)
    if not overlooked:
        return []
    message = f"{counted(len(overlooked), 'file')} that musubi-tuner does not look for: {listed(overlooked)}"
    fix = f"Convert or rename what should train to one of {extensions_of(source.kind)}."
    about = tuple(Named(name, (folder / name,)) for name in overlooked)
    return [Finding(str(folder), message, fix, "warning", "overlooked", about)]


def _nothing_found(source: Source, folder: Path, names: list[str]) -> Finding:
    message = f"no {source.noun}s in this folder; musubi-tuner would cache nothing and report success"
    return Finding(str(folder), message, _where_they_may_be(source, folder, names), kind="folder-empty")


def _where_they_may_be(source: Source, folder: Path, names: list[str]) -> str:
    other: Kind = "videos" if source.kind == "images" else "images"
    if media_among(names, other):
        return f"It holds {other}: list it as a dataset of {other}."
    for name in names:
        try:
            if media_among(names_in(folder / name), source.kind):
                return f"Subfolders are not searched: give {folder / name}."
        except OSError:
            continue
    return f"Put {source.noun}s with captions in it: {extensions_of(source.kind)}."
