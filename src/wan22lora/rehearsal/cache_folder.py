"""A dataset's cache folder: files written one by one, what is in it, and what no longer belongs there."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wan22lora.rehearsal.console import Module
from wan22lora.rehearsal.progress import Progress
from wan22lora.rehearsal.session import Session
from wan22lora.rehearsal.tensors import write_tiny


@dataclass(frozen=True)
class CacheFile:
    """One file to write."""

    path: Path
    keys: tuple[str, ...]
    """Names of its tensors; the last part of each is the dtype."""
    dtype: str
    metadata: Mapping[str, str]


class Encoder:
    """Writes batches of cache files under a progress line; counts files over all datasets of the program."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._count = 0

    def encode(
        self,
        batches: Iterable[list[CacheFile]],
        skip: Callable[[Path], bool],
        before: Callable[[CacheFile], None] | None = None,
    ) -> None:
        """`before` sees every file that is not skipped, just before it is written."""
        progress = Progress(None)
        for batch in batches:
            for file in batch:
                if not skip(file.path):
                    if before is not None:
                        before(file)
                    self._write(file)
            progress.update()
        progress.close()

    def _write(self, file: CacheFile) -> None:
        self._count += 1
        session = self._session
        session.faults.on_step(self._count)
        time.sleep(session.step_seconds)
        if session.faults.has_nan(self._count):
            session.console.warning("dataset", f"{file.keys[0]} tensor has NaN: {file.path}, replace NaN with 0")
        file.path.parent.mkdir(parents=True, exist_ok=True)
        write_tiny(file.path, dict.fromkeys(file.keys, ()), file.dtype, file.metadata)
        session.faults.after_cache_file(file.path, self._count)


def by_bucket(files: Iterable[tuple[tuple[int, ...], CacheFile]], size: int) -> Iterator[list[CacheFile]]:
    """A batch leaves as soon as its bucket has `size` items; the rest leave at the end."""
    waiting: dict[tuple[int, ...], list[CacheFile]] = {}
    for bucket, file in files:
        waiting.setdefault(bucket, []).append(file)
        if len(waiting[bucket]) == size:
            yield waiting.pop(bucket)
    yield from waiting.values()


def in_chunks(files: list[CacheFile], size: int) -> Iterator[list[CacheFile]]:
    for start in range(0, len(files), size):
        yield files[start : start + size]


def cache_files(cache: Path, ending: str) -> list[Path]:
    """As musubi lists them: brackets in the folder's name are taken for a pattern (image_video_dataset.py:146, 508)."""
    return [Path(name) for name in glob.glob(os.path.join(cache, f"*{ending}.safetensors"))]  # noqa: PTH118, PTH207


def remove_others(present: Iterable[Path], wanted: set[Path], *, keep: bool, session: Session, module: Module) -> None:
    """Delete the files that belong to no item, or say that they are kept (`--keep_cache`)."""
    for path in present:
        if path in wanted:
            continue
        if keep:
            session.console.info(module, f"Keep cache file not in the dataset: {path}")
        else:
            path.unlink()
            session.console.info(module, f"Removed old cache file: {path}")
