"""Reading files whole and comparing their hashes with what they must be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wan22lora.models.catalogue import CATALOGUE, ModelFile
from wan22lora.models.hub import Hub, Offer
from wan22lora.models.places import target
from wan22lora.models.record import expected_sha256, keep_record, read_record, revision_for
from wan22lora.models.state import standing
from wan22lora.models.troubles import Trouble

_BLOCK = 1 << 22


@dataclass(frozen=True)
class Verdict:
    """What reading one file came to; `right` is None when there was nothing to compare it with."""

    file: ModelFile
    path: Path
    right: bool | None
    text: str


def verify(models: Path, file: ModelFile, *, hub: Hub | None, advance: Callable[[int], None]) -> Verdict:
    """Reads one file and compares it; `hub` is asked for the hash where no record has it."""
    found = standing(models, file)
    if found.state == "missing":
        return Verdict(file, found.path, False, "is not here")
    if found.state == "arriving":
        return Verdict(file, found.path, None, "is still being fetched")
    path = found.path
    try:
        digest, size = _sha256(path, advance)
    except OSError as error:
        return Verdict(file, path, False, f"cannot be read: {error.strerror or error}")
    ours = path == target(models, file)
    expected, revision = expected_sha256(models, file) if ours else file.sha256, file.revision
    if expected is None and (offer := _asked(models, file, hub)) is not None:
        expected, revision = offer.sha256, offer.commit
    if digest == expected:
        if ours and revision is not None and read_record(models, file) is None:
            keep_record(models, file, revision=revision, size=size, sha256=digest)
        return Verdict(file, path, True, f"is right (sha256 {digest})")
    for other, known in _known(models):
        if known == digest and other != file:
            return Verdict(file, path, False, f"is really {other.title}")
    if found.state == "wrong":
        return Verdict(file, path, False, found.why)
    if expected is not None:
        return Verdict(file, path, False, f"is not the file of the hub (sha256 {digest}, not {expected})")
    return Verdict(file, path, None, f"looks right; there is nothing to compare its hash with (sha256 {digest})")


def _asked(models: Path, file: ModelFile, hub: Hub | None) -> Offer | None:
    if hub is None:
        return None
    try:
        return hub.offer(file, revision_for(models, file))
    except Trouble:
        return None


def _known(models: Path) -> Iterator[tuple[ModelFile, str]]:
    for file in CATALOGUE:
        sha256 = expected_sha256(models, file)
        if sha256 is not None:
            yield file, sha256


def _sha256(path: Path, advance: Callable[[int], None]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
            size += len(block)
            advance(len(block))
    return digest.hexdigest(), size
