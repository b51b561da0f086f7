"""Pictures or clips that a JSONL file lists, one object with a path and a caption on each line.

Source: dataset/datasources.py:276-400 (pictures) and 583-663 (clips) at v0.3.4. musubi-tuner stops at the
first line that it cannot read, so everything here is an error except an odd caption.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

from wan22lora.dataset.entries import BYTE_ORDER_MARK, Entry, check_caption, is_text
from wan22lora.dataset.latents import stem_of
from wan22lora.dataset.problems import Problems
from wan22lora.dataset.source import Source
from wan22lora.errors import Finding
from wan22lora.files import read_file

LARGEST = 1 << 28
"""Bytes of a JSONL file, of a million items with long captions."""


def entries_in_jsonl(source: Source, file: Path) -> tuple[list[Entry], list[Finding]]:
    """What musubi-tuner lists, in its order, and what is wrong with the rest."""
    try:
        text = read_file(file, LARGEST).decode("utf-8")
    except UnicodeDecodeError as problem:
        before = problem.object[: problem.start].count(b"\n")
        where, fix = f"{file}:{before + 1}", "Save the file as UTF-8."
        return [], [Finding(where, "this line is not UTF-8", fix, kind="jsonl-not-utf8")]
    except OSError as problem:
        message = f"the JSONL file cannot be read ({problem.strerror})"
        return [], [Finding(str(file), message, "Correct the path in run.yaml.", kind="jsonl-unreadable")]
    if not text:
        message = "the JSONL file is empty; musubi-tuner would cache nothing and report success"
        return [], [Finding(str(file), message, _form(source), kind="jsonl-empty")]
    lines = Problems(file, "line", numbered=True)
    problems = Problems(file, source.noun)
    entries = []
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        pair = _path_and_caption(source, line, str(number), lines)
        if pair is not None:
            entry = _entry(source, *pair, number, problems)
            entries.extend([entry] if entry else [])
    return entries, [*lines.findings(), *problems.findings()]


def _form(source: Source) -> str:
    return f'Each line has the form {{"{_key(source)}": "/full/path", "caption": "…"}}.'


def _key(source: Source) -> str:
    return "image_path" if source.kind == "images" else "video_path"


def _path_and_caption(source: Source, line: str, number: str, lines: Problems) -> tuple[str, str] | None:
    if not line.strip():
        lines.add("jsonl-line", "without content, at which musubi-tuner stops", number, fix="Delete empty lines.")
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as problem:
        if line.startswith(BYTE_ORDER_MARK):
            fix = "Save the file as UTF-8 without BOM."
            lines.add("jsonl-line", "with a byte order mark, at which musubi-tuner stops", number, fix=fix)
        else:
            detail = problem.msg if isinstance(problem, json.JSONDecodeError) else str(problem)
            lines.add("jsonl-line", f"that musubi-tuner cannot read as JSON ({detail})", number, fix=_form(source))
        return None
    if not isinstance(data, dict):
        lines.add("jsonl-line", "without a JSON object, at which musubi-tuner stops", number, fix=_form(source))
        return None
    path = data.get(_key(source), data.get("image_path_0") if source.kind == "images" else None)
    caption = data.get("caption")
    for key, value in ((_key(source), path), ("caption", caption)):
        if not isinstance(value, str) or (key != "caption" and not value):
            lines.add(
                "jsonl-line", f"without a text under `{key}`, at which musubi-tuner stops", number, fix=_form(source)
            )
    return (path, caption) if path and isinstance(path, str) and isinstance(caption, str) else None


def _entry(source: Source, path: str, caption: str, number: int, problems: Problems) -> Entry | None:
    name = f"line {number} {path}"
    if not (is_text(path) and is_text(caption)):
        what = "with half a character in its path or caption, such as a lone \\ud83d, which cannot be encoded"
        problems.add("jsonl-half-character", what, name, fix="Write the whole character.")
        return None
    full = source.place.parent / path
    exists = os.path.exists(full)  # noqa: PTH110 - Path.exists raises for a caption in the path's place
    if not Path(path).is_absolute():
        what = "with a relative path, which musubi-tuner starts from the folder it runs in, not from this file"
        fix = f"Write full paths, without `~`; this file lies in {source.place.parent}."
        problems.add("jsonl-relative", what, name, full, fix=fix)
    elif not exists:
        what = "without a file, at which musubi-tuner stops while caching"
        problems.add("jsonl-missing", what, name, full, fix="Correct the paths.")
    if not exists:
        return None
    check_caption(caption, name, full, problems)
    return Entry(full, stem_of(path), caption, name)
