"""Which cache files a run needs, which of them are current, and why the others are not.

musubi's `--skip_existing` looks at file names alone (cache_latents.py:306-307 at v0.3.4), latents keep their name
when the resolution, the picture or the task changes, and its training reads whatever lies in the folder. So each file
is tied here to what made it; one that does not match is removed before musubi runs, and one that is no longer wanted
before anything trains on it. What the run did not make is never removed: it is set aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wan22lora.dataset.latents import latents_of, text_file
from wan22lora.dataset.problems import listed
from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.musubi.safetensors import Header, NotSafetensors, read_header
from wan22lora.plan.adoption import Offer, Offers
from wan22lora.plan.class_captions import FOLDER_PREFIX
from wan22lora.plan.contents import Contents
from wan22lora.plan.manifest import ENDINGS, CacheKind, Key, Manifest, Seal, is_as_sealed, record_name

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
NEW, LEFT, FORCED = "not encoded yet", "left by a stopped caching", "asked for"


@dataclass(frozen=True)
class Stale:
    """Why a file cannot be used as it lies there."""

    reason: str
    changes: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    """For every part of its key that changed: what it was and what it is; None where there was or is none."""


@dataclass(frozen=True)
class CacheState:
    """The cache files of one step."""

    kind: CacheKind
    folders: tuple[Path, ...]
    expected: Mapping[Path, Key]
    """Every file the step must leave, with what it must have been made from."""
    outdated: tuple[Path, ...]
    """Files of this run on disk that no longer match, or that nothing wants: to be removed."""
    missing: tuple[Path, ...]
    """Expected files that must be encoded."""
    why: str
    taken: Mapping[Path, Offer] = field(default_factory=dict)
    """Expected files that lie elsewhere already, and are taken over from there."""
    foreign: tuple[Path, ...] = ()
    """Files that musubi would train on or remove and that this run did not make: to be set aside."""
    stale: Mapping[Path, Stale] = field(default_factory=dict)
    """For every file of `missing` and `taken`, why."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Digests of the encoders by the name of their file."""
    vouched: frozenset[Path] = frozenset()
    """Current files that a caching started by hand has made: to be recorded."""


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
    offers: Offers | None = None,
    weights: Mapping[str, str] | None = None,
    vouched: frozenset[Path] = frozenset(),
) -> CacheState:
    """Compares what must be there with what is there. Reads headers only. What is forced is taken over from nowhere.

    `vouched` are files that are what is wanted by another word than the manifest's (plan/by_hand.py).
    """
    folders = tuple(_with_class_folders(folders) if kind == "text" else folders)
    on_disk = set(files_in(folders, kind))
    stale: dict[Path, Stale] = {}
    for path, key in expected.items():
        why = Stale(FORCED) if force else _stale(path, key, manifest, on_disk, path in vouched)
        if why is not None:
            stale[path] = why
    taken: dict[Path, Offer] = {}
    if offers is not None and not force:
        taken = {path: offer for path in stale if (offer := _whole(offers.of(path, expected[path]))) is not None}
    foreign = {path for path in on_disk if (path not in expected or path in stale) and _is_foreign(path, manifest)}
    foreign -= {path for path in foreign if path in expected and _looks_like_a_cache(path)}
    unwanted = on_disk - set(expected) - foreign
    missing = tuple(path for path in stale if path not in taken)
    return CacheState(
        kind,
        folders,
        expected,
        tuple(sorted(unwanted | (on_disk & set(stale)) - foreign)),
        missing,
        _why(expected, stale, missing, taken, len(unwanted)),
        taken,
        tuple(sorted(foreign)),
        stale,
        weights or {},
        frozenset(path for path in vouched if path in expected and path not in stale),
    )


def foreign_notes(states: Iterable[CacheState]) -> Iterator[Finding]:
    """A warning for the files of each folder that would be trained on though this run did not make them."""
    for state in states:
        by_folder: dict[Path, list[str]] = {}
        for path in state.foreign:
            by_folder.setdefault(path.parent, []).append(path.name)
        for folder, names in by_folder.items():
            what = "trains on every file of such a name" if state.kind == "latents" else "takes them for captions"
            message = f"{listed(names)} {'is' if len(names) == 1 else 'are'} not of this run, and musubi {what}"
            yield Finding(str(folder), message, "moved to previous/ in the run folder before it starts", "warning")


def _with_class_folders(folders: Iterable[Path]) -> Iterator[Path]:
    """The folders of class captions too, also of classes that are no longer preserved."""
    for folder in folders:
        yield folder
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.name.startswith(FOLDER_PREFIX))


def files_in(folders: Iterable[Path], kind: CacheKind) -> Iterator[Path]:
    """Every file in the folders that musubi takes for a cache file of this kind."""
    for folder in folders:
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if path.name.endswith(ENDINGS[kind]))


def _stale(path: Path, key: Key, manifest: Manifest, on_disk: set[Path], vouched: bool) -> Stale | None:
    """Why the file must be made; None when it is current."""
    if vouched and path in on_disk:
        return _damage(path, key, None)
    name = record_name(path)
    recorded = manifest.files.get(name)
    if recorded is not None and recorded != key:
        changes = {
            part: (recorded.get(part), key.get(part))
            for part in {**recorded, **key}
            if recorded.get(part) != key.get(part)
        }
        if changes:
            part = next(iter(changes))
            return Stale(REASONS.get(part, f"{part} changed"), changes)
    if path not in on_disk:
        return Stale(NEW)
    if recorded is None:
        return Stale(LEFT)
    return _damage(path, key, manifest.seals.get(name))


def _damage(path: Path, key: Key, seal: Seal | None) -> Stale | None:
    """What is wrong with a file that is known to be made from the right thing."""
    try:
        # Only whole files are sealed, so of sealed latents the header says nothing more; a caption's says whose it is.
        if seal is None or "caption" in key:
            header = read_header(path)
            if "caption" in key and is_of_another_caption(header, key["caption"]):
                return Stale("made from another caption")
        if seal is not None and not is_as_sealed(path, seal):
            return Stale("written over since it was encoded")
    except (NotSafetensors, OSError):
        return Stale("damaged")
    return None


def _whole(offers: Iterable[Offer]) -> Offer | None:
    """The first that is there and whole."""
    for offer in offers:
        try:
            header = read_header(offer.path)
            if offer.seal is not None and not is_as_sealed(offer.path, offer.seal):
                continue
        except (NotSafetensors, OSError):
            continue
        if "caption" not in offer.key or not is_of_another_caption(header, offer.key["caption"]):
            return offer
    return None


def _is_foreign(path: Path, manifest: Manifest) -> bool:
    name = record_name(path)
    return name not in manifest.files and name not in manifest.begun


def _looks_like_a_cache(path: Path) -> bool:
    """As musubi writes them (cache_io.py:64, 350 at v0.3.4)."""
    try:
        return any(name.startswith(("latents", "varlen_t5")) for name in read_header(path).tensors)
    except (NotSafetensors, OSError):
        return False


def is_of_another_caption(header: Header, caption: str) -> bool:
    """musubi writes the caption into the file's metadata (cache_io.py:504 at v0.3.4)."""
    return header.metadata.get("caption1", caption).strip() != caption.strip()


def _why(
    expected: Mapping[Path, Key],
    stale: Mapping[Path, Stale],
    missing: tuple[Path, ...],
    taken: Mapping[Path, Offer],
    unwanted: int,
) -> str:
    files = f"{len(expected)} file{'' if len(expected) == 1 else 's'}"
    reasons = Counter(stale[path].reason for path in missing)
    others = Counter(offer.cache.parent.name for path, offer in taken.items() if not path.is_relative_to(offer.cache))
    renamed = len(taken) - others.total()
    counted = [
        (
            len(missing),
            "to encode: " + ", ".join(f"{why} ({n})" if len(reasons) > 1 else why for why, n in reasons.items()),
        ),
        (renamed, "kept under another name"),
        *((count, f"taken over from the run {name}") for name, count in others.items()),
    ]
    parts = [f"{count} {what}" for count, what in counted if count]
    if parts:
        parts[0] = parts[0].replace(" ", f" of {files} ", 1)
    if not stale:
        parts.append(f"all {files} are current")
    return "; ".join([*parts, *([f"{unwanted} no longer wanted"] if unwanted else [])])
