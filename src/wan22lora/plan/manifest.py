"""`cache/manifest.json` of a run: what each of its cache files was made from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wan22lora.files import read_json, write_json
from wan22lora.plan.class_captions import FOLDER_PREFIX
from wan22lora.plan.contents import Stamp, sha256_of

CacheKind = Literal["latents", "text"]
Key = Mapping[str, str]
"""What a cache file depends on, as readable name → value."""
Seal = tuple[int, int, str]
"""Size, modification time (nanoseconds) and digest of a finished cache file."""
ENDINGS: Mapping[CacheKind, str] = {"latents": "_wan.safetensors", "text": "_wan_te.safetensors"}


@dataclass(frozen=True)
class Manifest:
    """What is known of a run's caches."""

    files: Mapping[str, Key] = field(default_factory=dict)
    """The key of each finished file."""
    contents: Mapping[str, Stamp] = field(default_factory=dict)
    """Digests of pictures and clips by path."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Digests of encoders by the name of their file, so that a cache stays current when its encoder is deleted."""
    begun: frozenset[str] = frozenset()
    """Files that a caching set out to make: after a kill they are its own, though nothing says what is in them."""
    seals: Mapping[str, Seal] = field(default_factory=dict)
    """What tells of finished files whether something has written over them since."""


def manifest_path(cache: Path) -> Path:
    return cache / "manifest.json"


def read_manifest(cache: Path) -> Manifest:
    """The manifest of a run's caches; an unreadable one counts as empty, which only costs encoding again."""
    data = read_json(manifest_path(cache))
    try:
        return Manifest(
            {name: dict(key) for name, key in data["files"].items()},
            {path: (int(s[0]), int(s[1]), int(s[2]), str(s[3])) for path, s in data["contents"].items()},
            {str(name): str(digest) for name, digest in data.get("weights", {}).items()},
            frozenset(map(str, data.get("begun", []))),
            {name: (int(s[0]), int(s[1]), str(s[2])) for name, s in data.get("seals", {}).items()},
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
        return Manifest()


def write_manifest(cache: Path, manifest: Manifest) -> None:
    """Replaces the manifest whole or not at all. Run with the run folder locked."""
    cache.mkdir(parents=True, exist_ok=True)
    write_json(
        manifest_path(cache),
        {
            "files": manifest.files,
            "contents": manifest.contents,
            "weights": manifest.weights,
            "begun": sorted(manifest.begun),
            "seals": manifest.seals,
        },
    )


def seal_of(path: Path) -> Seal:
    """Reads the whole file."""
    return *_stamp(path), sha256_of(path)


def stamped_anew(path: Path, seal: Seal) -> Seal:
    """The seal of a file that holds the same and may have another time, as copies have."""
    return *_stamp(path), seal[2]


def is_as_sealed(path: Path, seal: Seal) -> bool:
    """Whether a file holds what it held. It is read only where its time is another one. Raises OSError."""
    now = _stamp(path)
    return now == seal[:2] or (now[0] == seal[0] and sha256_of(path) == seal[2])


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def record_name(path: Path) -> str:
    """What tells a cache file from every other of the run: `0/a_wan_te.safetensors`, or with its class's folder
    `0/class-1a2b3c4d/a_wan_te.safetensors`.
    """
    parts = str(path).rsplit(os.sep, 3)  # Path.parts is slow
    return "/".join(parts[-3 if parts[-2].startswith(FOLDER_PREFIX) else -2 :])


def kind_of(name: str) -> CacheKind:
    return "text" if name.endswith(ENDINGS["text"]) else "latents"
