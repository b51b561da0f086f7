"""Cache files that are there already, of another run or under another name, and so need not be encoded again.

A run's folder holds its own caches and no others, because musubi trains on whatever lies there (decisions/0009). What
another run has encoded from the same picture or caption in the same way is linked into it instead of being encoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wan22lora.files import read_json
from wan22lora.plan.manifest import Key, Manifest, Seal, kind_of, manifest_path, read_manifest

WINDOW = re.compile(r"_\d{5,}-\d{3,}(?=_\d{4,}x\d{4,}_wan\.safetensors$)")
_Made = tuple[str, str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Offer:
    """A recorded cache file."""

    path: Path
    cache: Path
    """The folder of all caches of the run that it belongs to."""
    name: str
    """Of its record in that run's manifest."""
    key: Key
    seal: Seal | None = None


class Offers:
    """The recorded cache files of some runs by what they were made from; nothing is read before the first question."""

    def __init__(self, manifests: Callable[[], Iterable[tuple[Path, Manifest]]] = lambda: ()) -> None:
        self._manifests = manifests
        self._by_key: dict[_Made, list[Offer]] | None = None

    def of(self, path: Path, key: Key) -> Iterator[Offer]:
        """What holds the very content that a file of this name is to be made with; such a file may be gone."""
        if self._by_key is None:
            self._by_key = {}
            for cache, manifest in self._manifests():
                for name, recorded in manifest.files.items():
                    offer = Offer(cache / name, cache, name, recorded, manifest.seals.get(name))
                    self._by_key.setdefault(_made(name, recorded), []).append(offer)
        yield from self._by_key.get(_made(path.name, key), ())


def manifests_of(caches: Iterable[Path]) -> Iterator[tuple[Path, Manifest]]:
    """The manifests of those cache folders that have one, each once."""
    for cache in dict.fromkeys(caches):
        if manifest_path(cache).is_file():
            yield cache, read_manifest(cache)


def caches_beside(run_folder: Path, known: Iterable[Path], *, rehearsal: bool) -> Iterator[Path]:
    """The cache folders of other runs."""
    for other in runs_beside(run_folder, known, rehearsal=rehearsal):
        yield other / "cache"


def runs_beside(run_folder: Path, known: Iterable[Path], *, rehearsal: bool) -> Iterator[Path]:
    """Other runs: those in the same folder and those that are known; only rehearsals for a rehearsal, since its files
    hold nothing."""
    try:
        beside = sorted(run_folder.parent.iterdir())
    except OSError:
        beside = []
    for other in dict.fromkeys((*beside, *known)):
        if other != run_folder and read_json(other / "run.json").get("rehearsal") is rehearsal:
            yield other


def _made(name: str, key: Key) -> _Made:
    """A clip's windows have the same key and differ in the frames that their names say."""
    window = WINDOW.search(name) if key.get("bucket", "").count("×") == 2 else None
    return kind_of(name), window[0] if window else "", frozenset(key.items())
