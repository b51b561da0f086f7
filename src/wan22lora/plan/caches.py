"""Which cache files a run needs, which of them are current, and why the others are not.

musubi's `--skip_existing` looks at file names alone (cache_latents.py:306-307 at v0.3.4), latents keep their name
when the resolution, the picture or the task changes, and its training reads whatever lies in the folder. So each file
is tied here to what made it; one that does not match is removed before musubi runs, and one that is no longer wanted
before anything trains on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wan22lora.dataset.latents import latents_of, text_file
from wan22lora.dataset.scan import Scan
from wan22lora.files import read_json, write_json
from wan22lora.musubi.safetensors import Header, NotSafetensors, read_header
from wan22lora.plan.class_captions import FOLDER_PREFIX
from wan22lora.plan.contents import Contents, Stamp

CacheKind = Literal["latents", "text"]
Key = Mapping[str, str]
ENDINGS: Mapping[CacheKind, str] = {"latents": "_wan.safetensors", "text": "_wan_te.safetensors"}
REASONS = {
    "content": "replaced",
    "caption": "caption edited",
    "bucket": "size changed",
    "fps": "frame rate changed",
    "vae": "other VAE",
    "t5": "other text encoder",
    "task": "other task",
    "musubi": "other revision of musubi",
    "options": "other options",
}


@dataclass(frozen=True)
class Manifest:
    """What is known of a run's caches: the key of each finished file, and digests of what they came from."""

    files: Mapping[str, Key] = field(default_factory=dict)
    contents: Mapping[str, Stamp] = field(default_factory=dict)


@dataclass(frozen=True)
class CacheState:
    """The cache files of one step."""

    kind: CacheKind
    folders: tuple[Path, ...]
    expected: Mapping[Path, Key]
    """Every file the step must leave, with what it must have been made from."""
    outdated: tuple[Path, ...]
    """Files on disk that no longer match, or that nothing wants: to be removed."""
    missing: tuple[Path, ...]
    """Expected files that must be encoded."""
    why: str


def manifest_path(cache: Path) -> Path:
    return cache / "manifest.json"


def read_manifest(cache: Path) -> Manifest:
    """The manifest of a run's caches; an unreadable one counts as empty, which only costs encoding again."""
    data = read_json(manifest_path(cache))
    try:
        contents = {path: (int(s[0]), int(s[1]), int(s[2]), str(s[3])) for path, s in data["contents"].items()}
        return Manifest({name: dict(key) for name, key in data["files"].items()}, contents)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
        return Manifest()


def latents_keys(scans: Iterable[Scan], contents: Contents, common: Key) -> dict[Path, Key]:
    """Every latent cache file and what it depends on; `common` is what all files share (VAE, task, revision)."""
    return {
        scan.source.cache / latents.file: {
            "content": contents.digest(item.path),
            "bucket": "×".join(map(str, latents.bucket)),
            **({"fps": str(scan.source.source_fps)} if item.frames is not None else {}),
            **common,
        }
        for scan in scans
        for item in scan.items
        for latents in latents_of(item, scan.source)
    }


def text_keys(scans: Iterable[Scan], common: Key) -> dict[Path, Key]:
    """Every caption's cache file and what it depends on; class captions come as datasets of their own."""
    return {
        scan.source.cache / text_file(item): {"caption": item.caption, **common}
        for scan in scans
        for item in scan.items
    }


def cache_state(
    kind: CacheKind,
    expected: Mapping[Path, Key],
    manifest: Manifest,
    folders: Iterable[Path],
    *,
    force: bool = False,
) -> CacheState:
    """Compares what must be there with what is there. Reads headers only."""
    folders = tuple(_with_class_folders(folders) if kind == "text" else folders)
    on_disk = set(_files(kind, folders))
    reasons: Counter[str] = Counter()
    missing: list[Path] = []
    for path, key in expected.items():
        reason = "asked for" if force else _reason(path, key, manifest, on_disk)
        if reason:
            missing.append(path)
            reasons[reason] += 1
    unwanted = on_disk - set(expected)
    outdated = sorted(unwanted | (on_disk & set(missing)))
    return CacheState(
        kind,
        folders,
        expected,
        tuple(outdated),
        tuple(missing),
        _why(expected, missing, reasons, len(unwanted)),
    )


def _with_class_folders(folders: Iterable[Path]) -> Iterator[Path]:
    """The folders of class captions too, also of classes that are no longer preserved."""
    for folder in folders:
        yield folder
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.name.startswith(FOLDER_PREFIX))


def _files(kind: CacheKind, folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if path.name.endswith(ENDINGS[kind]))


def _reason(path: Path, key: Key, manifest: Manifest, on_disk: set[Path]) -> str:
    """Why the file must be encoded; empty when it is current."""
    if path not in on_disk:
        return "not encoded yet"
    recorded = manifest.files.get(record_name(path))
    if recorded is None:
        return "left by a stopped caching"
    for part in {**recorded, **key}:
        if recorded.get(part) != key.get(part):
            return REASONS.get(part, f"{part} changed")
    try:
        header = read_header(path)
    except (NotSafetensors, OSError):
        return "damaged"
    if "caption" in key and _is_of_another_caption(header, key["caption"]):
        return "made from another caption"
    return ""


def _is_of_another_caption(header: Header, caption: str) -> bool:
    """musubi writes the caption into the file's metadata (cache_io.py:504 at v0.3.4)."""
    return header.metadata.get("caption1", caption).strip() != caption.strip()


def _why(expected: Mapping[Path, Key], missing: list[Path], reasons: Counter[str], unwanted: int) -> str:
    files = f"{len(expected)} file{'' if len(expected) == 1 else 's'}"
    if missing:
        text = f"{len(missing)} of {files} to encode: "
        text += ", ".join(f"{reason} ({count})" if len(reasons) > 1 else reason for reason, count in reasons.items())
    else:
        text = f"all {files} are current"
    return text + (f"; {unwanted} no longer wanted" if unwanted else "")


def begin(state: CacheState, cache: Path) -> None:
    """Before the step starts: forgets and removes every file that it is to encode.

    The record goes first: if everything is killed from here on, what lies in the folder has no record, and so is never
    taken for what an earlier caching made. Run with the run folder locked.
    """
    again = {*state.missing, *state.outdated}
    names = {record_name(path) for path in again}
    manifest = read_manifest(cache)
    if not names.isdisjoint(manifest.files):
        kept = {name: key for name, key in manifest.files.items() if name not in names}
        write_json(manifest_path(cache), {"files": kept, "contents": manifest.contents})
    for path in again:
        path.unlink(missing_ok=True)


def drop_overtaken(state: CacheState, scans: Iterable[Scan], contents: Contents) -> list[Path]:
    """After the step: removes the files just encoded from something else than was planned, and returns what they show.

    A picture is known by its size and times; a caption by the cache file's own metadata. Class captions are encoded
    from a file of the plan, so nothing overtakes them.
    """
    encoded = set(state.missing)
    overtaken: list[Path] = []
    for scan in scans:
        for item in scan.items:
            if state.kind == "text":
                files = [scan.source.cache / text_file(item)]
            else:
                files = [scan.source.cache / latents.file for latents in latents_of(item, scan.source)]
            made = [path for path in files if path in encoded]
            if made and (
                _other_caption(made[0], item.caption) if state.kind == "text" else contents.changed(item.path)
            ):
                for path in made:
                    path.unlink(missing_ok=True)
                overtaken.append(item.path)
    return overtaken


def _other_caption(path: Path, caption: str) -> bool:
    try:
        return _is_of_another_caption(read_header(path), caption)
    except (NotSafetensors, OSError):
        return False  # left to `settle`


def settle(state: CacheState, cache: Path, contents: Contents) -> list[Path]:
    """After the step ended, well or badly: records what is whole, removes what is not, and returns what was removed.

    Run with the run folder locked. A file is whole when its header and length agree; musubi writes it in one go, so a
    killed process leaves a short one.
    """
    manifest = read_manifest(cache)
    files = {name: key for name, key in manifest.files.items() if _kind(name) != state.kind}
    broken: list[Path] = []
    for path, key in state.expected.items():
        if not path.exists():
            continue
        try:
            read_header(path)
        except (NotSafetensors, OSError):
            path.unlink(missing_ok=True)
            broken.append(path)
        else:
            files[record_name(path)] = dict(key)
    cache.mkdir(parents=True, exist_ok=True)
    write_json(manifest_path(cache), {"files": files, "contents": {**manifest.contents, **contents.seen}})
    return broken


def record_name(path: Path) -> str:
    """What tells a cache file from every other of the run: `0/a_wan_te.safetensors`, or with its class's folder
    `0/class-1a2b3c4d/a_wan_te.safetensors`.
    """
    parts = path.parts
    return "/".join(parts[-3 if parts[-2].startswith(FOLDER_PREFIX) else -2 :])


def _kind(name: str) -> CacheKind:
    return "text" if name.endswith(ENDINGS["text"]) else "latents"
