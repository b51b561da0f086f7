"""The texts in a zip that a chat returned, in a folder or in one file. Nothing is unpacked onto the disk.

Members are read into memory up to a limit and only the last part of their names is used, so that neither `..` nor an
absolute name, a link or a bomb can do anything; what looks like one of them is refused by name.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from wan22lora.captions.answer import Answer
from wan22lora.captions.decoding import decoded
from wan22lora.captions.together import split
from wan22lora.dataset.listing import CLIP_EXTENSIONS, PICTURE_EXTENSIONS
from wan22lora.dataset.problems import counted, listed
from wan22lora.errors import DatasetError, Finding
from wan22lora.files import read_file

TEXTS = (".txt", ".md", ".text", ".caption", ".cap", "")
ALL_IN_ONE = (".json", ".jsonl", ".csv", ".tsv")
_LARGEST = 1 << 20
"""Bytes of one member; a caption has a few hundred."""
_LARGEST_SUM = 1 << 26
_MOST = 100_000
_LEFTOVERS = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Member:
    """One file, read."""

    name: str
    content: bytes


@dataclass
class _Skipped:
    """Files that are passed over, by the reason."""

    where: str
    reasons: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        self.reasons.setdefault(reason, []).append(name)

    def findings(self) -> list[Finding]:
        return [
            Finding(self.where, f"{counted(len(names), 'file')} left out, {reason}: {listed(names)}", level="warning")
            for reason, names in self.reasons.items()
        ]


def read_answers(path: Path, *, expected: int) -> tuple[list[Answer], list[Finding]]:
    """The answers in a zip, a folder or a text, and what was left out and why.

    Of one file where more are `expected`, the parts by names, headings or numbers. Raises DatasetError for what cannot
    be read.
    """
    skipped = _Skipped(path.name)
    try:
        members = list(_members(path, skipped))
    except OSError as problem:
        raise _unreadable(path, problem.strerror or str(problem)) from problem
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, RecursionError) as problem:
        raise _unreadable(path, f"it cannot be read: {problem}") from problem
    texts: list[Answer] = []
    for member in members:
        text = decoded(member.content)
        if text is None:
            skipped.add("not text", member.name)
        else:
            texts.append(Answer(member.name, text))
    if len(texts) == 1 and (expected > 1 or _extension(texts[0].name) in ALL_IN_ONE or path.suffix == ""):
        parts = split(texts[0].text)
        if len(parts) > 1 or (parts and not zipfile.is_zipfile(path)):
            return parts, skipped.findings()
    return [answer for answer in texts if _extension(answer.name) not in ALL_IN_ONE], skipped.findings()


def _members(path: Path, skipped: _Skipped) -> Iterator[Member]:
    path.stat()
    if path.is_dir():
        yield from _in_folder(path, skipped)
    elif zipfile.is_zipfile(path):
        yield from _in_zip(path, skipped)
    elif _extension(path.name) in (*TEXTS, *ALL_IN_ONE):
        if path.stat().st_size > _LARGEST_SUM:
            raise ValueError("too large for captions")
        yield Member(path.name, read_file(path, _LARGEST_SUM))
    else:
        raise ValueError("neither a zip archive nor a text")


def _in_folder(path: Path, skipped: _Skipped) -> Iterator[Member]:
    for file in sorted(path.iterdir()):
        if file.name.startswith(".") or not file.is_file() or not _is_wanted(file.name, skipped):
            continue
        if file.stat().st_size > _LARGEST:
            skipped.add("too large for a caption", file.name)
        else:
            yield Member(file.name, file.read_bytes())


def _in_zip(path: Path, skipped: _Skipped) -> Iterator[Member]:
    read = 0
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > _MOST:
            raise ValueError(f"{len(infos):,} files are in it")
        for info in infos:
            name = _name(info)
            reason = _refusal(info, name)
            if reason:
                skipped.add(reason, name)
            elif not info.is_dir() and _is_wanted(name, skipped):
                if info.file_size > _LARGEST:  # no more than this is ever read of a member
                    skipped.add("too large for a caption", name)
                    continue
                read += info.file_size
                if read > _LARGEST_SUM:
                    raise ValueError("too large for captions")
                content = _content(archive, info, name, skipped)
                if content is not None:
                    yield Member(name, content)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, skipped: _Skipped) -> bytes | None:
    try:
        with archive.open(info) as file:
            return file.read()
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        ValueError,
        RuntimeError,
    ) as problem:
        skipped.add(f"damaged ({problem})" if str(problem) else "damaged", name)
        return None


def _refusal(info: zipfile.ZipInfo, name: str) -> str:
    if name.startswith(("/", "\\")) or name[1:2] == ":" or ".." in PurePosixPath(name.replace("\\", "/")).parts:
        return "because the name leads out of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "because it is a link"
    if info.flag_bits & 0x1:
        return "because it is encrypted (save the zip without a password)"
    return ""


def _is_wanted(name: str, skipped: _Skipped) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or any(part in _LEFTOVERS or part.startswith("._") for part in parts):
        return False
    extension = _extension(name)
    if extension in (*TEXTS, *ALL_IN_ONE):
        return True
    if extension in PICTURE_EXTENSIONS or extension in CLIP_EXTENSIONS:
        skipped.add("because only captions are taken over", parts[-1])
    else:
        skipped.add("of a kind that holds no caption", parts[-1])
    return False


def _extension(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _name(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    try:  # archives that say nothing of their encoding hold UTF-8 more often than code page 437
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _unreadable(path: Path, why: str) -> DatasetError:
    fix = "Give the zip that the chat returned, a folder of .txt files, or one text with all captions."
    return DatasetError("There are no captions to take over.", findings=[Finding(str(path), why, fix)])
