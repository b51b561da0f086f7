"""What a run does to its cache files before and after musubi encodes. Always with the run folder locked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from wan22lora.dataset.latents import latents_of, text_file
from wan22lora.dataset.scan import Scan
from wan22lora.musubi.safetensors import NotSafetensors, read_header
from wan22lora.plan.adoption import Offer
from wan22lora.plan.by_hand import note_file
from wan22lora.plan.caches import CacheState, files_in, is_of_another_caption
from wan22lora.plan.contents import Contents
from wan22lora.plan.manifest import (
    Manifest,
    Seal,
    kind_of,
    read_manifest,
    record_name,
    seal_of,
    stamped_anew,
    write_manifest,
)

ARRIVING = ".arriving-"
"""Begins the names of files that are being taken over, which musubi does not see."""


def begin(state: CacheState, cache: Path, contents: Contents) -> list[Path]:
    """Before the step starts: removes every file that it is to encode and takes over what lies elsewhere. What is
    foreign must have been set aside.

    Returns what could not be taken over. The records go first: if everything is killed from here on, what lies in the
    folder has no record, and so is never taken for what an earlier caching made. Digests are written down even where
    nothing is to be done, so that files of which only the times changed are not read again.
    """
    _sweep(state.folders)
    arrived = _linked(state.taken)
    again = {*state.missing, *state.taken, *state.outdated} - {*state.foreign}
    names = {record_name(path) for path in again}
    made = {record_name(path) for path in (*state.missing, *state.taken)}
    before = read_manifest(cache)
    vouched = {record_name(path): path for path in state.vouched}
    manifest = replace(
        before,
        files={
            **{name: key for name, key in before.files.items() if name not in names},
            **{name: dict(state.expected[path]) for name, path in vouched.items()},
        },
        seals={
            **{name: seal for name, seal in before.seals.items() if name not in names},
            **_stamped_anew(state, before),
            **{name: seal_of(path) for name, path in vouched.items()},
        },
        contents={**before.contents, **contents.seen},
        weights={**before.weights, **(state.weights if vouched else {})},
        begun=(before.begun | made) - vouched.keys(),
    )
    if manifest != before:
        write_manifest(cache, manifest)
    note_file(cache, state.kind).unlink(missing_ok=True)  # what it says is recorded, or will be made again
    for path in again:
        path.unlink(missing_ok=True)
    for path, temporary in arrived.items():
        temporary.replace(path)
    if arrived:
        files = {**manifest.files, **{record_name(path): dict(state.expected[path]) for path in arrived}}
        weights = {**manifest.weights, **state.weights}
        begun = manifest.begun - {record_name(path) for path in arrived}
        seals = {**manifest.seals, **{record_name(path): _seal(path, state.taken[path].seal) for path in arrived}}
        write_manifest(cache, replace(manifest, files=files, weights=weights, begun=begun, seals=seals))
    return [path for path in state.taken if path not in arrived]


def _stamped_anew(state: CacheState, manifest: Manifest) -> dict[str, Seal]:
    """Of the files that are current, so that those that were copied here are read no second time."""
    current = (path for path in state.expected if path not in state.stale)
    known = ((path, manifest.seals.get(record_name(path))) for path in current)
    return {record_name(path): stamped_anew(path, seal) for path, seal in known if seal is not None}


def _seal(path: Path, known: Seal | None) -> Seal:
    return seal_of(path) if known is None else stamped_anew(path, known)


def _sweep(folders: Iterable[Path]) -> None:
    """What a killed taking over left."""
    for folder in folders:
        for path in folder.glob(f"{ARRIVING}*"):
            path.unlink(missing_ok=True)


def _linked(taken: Mapping[Path, Offer]) -> dict[Path, Path]:
    """Where each file taken over lies now, under another name beside its own.

    Another run may be at work on the file meanwhile. It forgets the record before it touches the file, so what is still
    recorded afterwards was what it was recorded as.
    """
    arrived: dict[Path, Path] = {}
    for number, (path, offer) in enumerate(taken.items()):
        temporary = path.with_name(f"{ARRIVING}{number}")
        with suppress(FileNotFoundError):
            _link_or_copy(offer.path, temporary)
            arrived[path] = temporary
    manifests = {cache: read_manifest(cache) for cache in {taken[path].cache for path in arrived}}
    for path, temporary in list(arrived.items()):
        offer = taken[path]
        if manifests[offer.cache].files.get(offer.name) != offer.key or not _is_whole(temporary):
            temporary.unlink()
            del arrived[path]
    return arrived


def _link_or_copy(source: Path, path: Path) -> None:
    """A second name for the same bytes, or, where the file system has none to give, a copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, path)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, path)


def _is_whole(path: Path) -> bool:
    try:
        read_header(path)
    except (NotSafetensors, OSError):
        return False
    return True


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
        return is_of_another_caption(read_header(path), caption)
    except (NotSafetensors, OSError):
        return False  # left to `settle`


def appeared(state: CacheState) -> list[Path]:
    """After the step: cache files that nobody planned, as musubi makes of a picture that comes into the folder after
    the plan. A training would learn from them, and nothing would say so.
    """
    return sorted(set(files_in(state.folders, state.kind)) - set(state.expected))


def settle(state: CacheState, cache: Path, contents: Contents) -> list[Path]:
    """After the step ended, well or badly: records what is whole, removes what is not, and returns what was removed.

    A file is whole when its header and length agree; musubi writes it in one go, so a killed process leaves a short
    one.
    """
    manifest = read_manifest(cache)
    files = {name: key for name, key in manifest.files.items() if kind_of(name) != state.kind}
    seals = {name: seal for name, seal in manifest.seals.items() if kind_of(name) != state.kind}
    broken: list[Path] = []
    encoded = frozenset(state.missing)
    for path, key in state.expected.items():
        if not path.exists():
            continue
        if _is_whole(path):
            name = record_name(path)
            files[name] = dict(key)
            known = None if path in encoded else manifest.seals.get(name)
            seals[name] = known or seal_of(path)
        else:
            path.unlink(missing_ok=True)
            broken.append(path)
    settled = replace(
        manifest,
        files=files,
        contents={**manifest.contents, **contents.seen},
        weights={**manifest.weights, **state.weights},
        begun=frozenset(name for name in manifest.begun if kind_of(name) != state.kind),
        seals=seals,
    )
    write_manifest(cache, settled)
    return broken
