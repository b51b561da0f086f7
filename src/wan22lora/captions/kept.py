"""Answers that arrived and are no captions yet: kept beside them, so that a killed `captions write` goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from wan22lora.captions.journal import FOLDER
from wan22lora.captions.place import Medium

_FILE = "answers.jsonl"
_BLOCK = 1 << 20


def key_of(medium: Medium, model: str, instruction: str) -> str:
    """What an answer depends on: the file's content, the model and what it was told. Raises OSError."""
    digest = hashlib.sha256(f"{model}\0{instruction}\0".encode("utf-8", "surrogatepass"))
    with medium.path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def keep(folder: Path, key: str, caption: str) -> None:
    """Add an answer; it is on the disk when this returns. Raises OSError."""
    (folder / FOLDER).mkdir(exist_ok=True)
    # A line that a killed process left half written ends before the next one begins.
    line = "\n" + json.dumps({"key": key, "caption": caption}) + "\n"
    with (folder / FOLDER / _FILE).open("ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def kept_in(folders: Iterable[Path]) -> dict[str, str]:
    """Captions by their key; what is damaged is passed over."""
    found: dict[str, str] = {}
    for folder in folders:
        try:
            lines = (folder / FOLDER / _FILE).read_bytes().splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                values = json.loads(line)
                key, caption = values["key"], values["caption"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(key, str) and isinstance(caption, str):
                found[key] = caption
    return found


def forget(folders: Iterable[Path]) -> None:
    """The answers have become captions."""
    for folder in folders:
        (folder / FOLDER / _FILE).unlink(missing_ok=True)
