"""Every cache file of a run as it lies there, and what would become of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from wan22lora.plan.caches import CacheState, Stale
from wan22lora.plan.class_captions import FOLDER_PREFIX
from wan22lora.plan.made_from import item_of
from wan22lora.plan.manifest import ENDINGS, CacheKind, Key, Manifest, kind_of, record_name
from wan22lora.plan.prepared import Prepared
from wan22lora.plan.sources import cache_folder_of

Standing = Literal["current", "to encode", "to take over", "unwanted", "foreign"]


@dataclass(frozen=True)
class CacheFile:
    """One cache file; it need not be there."""

    path: Path
    kind: CacheKind
    item: str
    """File name of the picture or clip, or its stem where it is gone."""
    standing: Standing
    size: int | None
    """Bytes; None for one that is not there."""
    shared: bool = False
    """True when another run has the same file, so that removing it frees nothing."""
    key: Key = field(default_factory=dict)
    """What it is, or is to be, made from."""
    stale: Stale | None = None
    """Why it is to be made."""
    source: Path | None = None
    """Where it is taken over from."""
    needed: bool = False
    """True when a picture or caption that bears another name now takes it over."""

    @property
    def of_class(self) -> bool:
        """True for a caption with a class in the trigger's place."""
        return self.path.parent.name.startswith(FOLDER_PREFIX)

    @property
    def removable(self) -> bool:
        """Made by this run, and of no use to it as it is, nor under another name."""
        return self.size is not None and not self.needed and self.standing in ("unwanted", "to encode", "to take over")


def inventory(prepared: Prepared, manifest: Manifest) -> tuple[CacheFile, ...]:
    """The files of every dataset, those that nothing wants after the others. `manifest` is that of the run's caches."""
    names = {(scan.source.cache, item.stem): item.path.name for scan in prepared.scans for item in scan.items}
    states = tuple(prepared.caches.values())
    wanted = [_wanted(state, path, names) for state in states for path in state.expected if path not in state.foreign]
    order = {item: number for number, item in enumerate(names.values())}
    wanted.sort(key=lambda file: (_dataset(file.path), order.get(file.item, 0)))
    cache = cache_folder_of(prepared.plan.folder)
    rest = [
        *(_file(path, "foreign") for state in states for path in state.foreign),
        *(_file(path, "unwanted") for state in states for path in state.outdated if path not in state.expected),
        *_of_datasets_that_are_gone(cache, {scan.source.cache for scan in prepared.scans}, manifest),
    ]
    sources = {file.source for file in wanted}
    return tuple(replace(file, needed=True) if file.path in sources else file for file in (*wanted, *rest))


def _wanted(state: CacheState, path: Path, names: Mapping[tuple[Path, str], str]) -> CacheFile:
    stale, offer = state.stale.get(path), state.taken.get(path)
    size, shared = _size(path)
    stem = item_of(path.name)
    return CacheFile(
        path,
        state.kind,
        names.get((_dataset(path), stem), stem),
        "to take over" if offer is not None else "to encode" if stale is not None else "current",
        size,
        shared,
        state.expected[path],
        stale,
        offer.path if offer is not None else None,
    )


def _dataset(path: Path) -> Path:
    """The cache folder of the dataset, also for a class caption."""
    return path.parent.parent if path.parent.name.startswith(FOLDER_PREFIX) else path.parent


def _file(path: Path, standing: Standing) -> CacheFile:
    size, shared = _size(path)
    return CacheFile(path, kind_of(path.name), item_of(path.name), standing, size, shared)


def _size(path: Path) -> tuple[int | None, bool]:
    try:
        stat = path.stat()
    except OSError:
        return None, False
    return stat.st_size, stat.st_nlink > 1


def _of_datasets_that_are_gone(cache: Path, folders: set[Path], manifest: Manifest) -> Iterator[CacheFile]:
    """run.yaml had more datasets once. musubi does not look there, so nothing needs to be done about these files."""
    left = sorted(path for path in cache.iterdir() if path.is_dir() and path not in folders) if cache.is_dir() else []
    for folder in left:
        for path in sorted(folder.rglob("*.safetensors")):
            if path.name.endswith(tuple(ENDINGS.values())):
                known = record_name(path) in manifest.files or record_name(path) in manifest.begun
                yield _file(path, "unwanted" if known else "foreign")
