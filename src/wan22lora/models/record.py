"""manifest.json in the folder of models: which commit, size and hash each fetched file has."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from wan22lora.files import read_json, write_json, written
from wan22lora.models.catalogue import ModelFile

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Record:
    """What is known of one file that was fetched or verified."""

    repository: str
    path: str
    revision: str
    size: int
    sha256: str
    """Of the bytes as they were written; at the fetch they agreed with what the hub said."""
    at: str
    """UTC."""


def read_record(models: Path, file: ModelFile) -> Record | None:
    """None when the file was never fetched into this folder, or the manifest is damaged."""
    return _record(_files(models).get(file.relative))


def keep_record(models: Path, file: ModelFile, *, revision: str, size: int, sha256: str) -> None:
    """Adds or replaces one record; other processes may do the same meanwhile. Raises MachineError."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = Record(file.repository, file.path, revision, size, sha256, now)
    with written(models / MANIFEST):
        models.mkdir(parents=True, exist_ok=True)
        with FileLock(models / f".{MANIFEST}.lock"):
            files = {**_files(models), file.relative: asdict(record)}
            write_json(models / MANIFEST, {"files": dict(sorted(files.items()))})


def revision_for(models: Path, file: ModelFile) -> str:
    """The commit to fetch: the catalogue's, else that of the first fetch, else whatever `main` is."""
    record = read_record(models, file)
    return file.revision or (record.revision if record is not None else "main")


def expected_sha256(models: Path, file: ModelFile) -> str | None:
    """The hash that the file must have, as far as it is known without asking the hub."""
    record = read_record(models, file)
    return file.sha256 or (record.sha256 if record is not None else None)


def _files(models: Path) -> dict[str, Any]:
    files = read_json(models / MANIFEST).get("files")
    return files if isinstance(files, dict) else {}


def _record(value: object) -> Record | None:
    if not isinstance(value, Mapping):
        return None
    try:
        record = Record(**value)
    except TypeError:
        return None
    texts = (record.repository, record.path, record.revision, record.sha256, record.at)
    return record if all(isinstance(text, str) for text in texts) and isinstance(record.size, int) else None
