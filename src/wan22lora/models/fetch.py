"""Fetching model files: in order, one after the other, each continued where it stopped and checked before it counts."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from wan22lora.errors import Finding, Interrupted, MachineError, command
from wan22lora.files import write_text, written
from wan22lora.machine.settings import TOKENIZER_FOLDER
from wan22lora.machine.space import space_at
from wan22lora.models.arriving import Arrival
from wan22lora.models.catalogue import CATALOGUE, ModelFile
from wan22lora.models.hub import Hub, Offer
from wan22lora.models.part import Part, drop_other_parts, part_path
from wan22lora.models.patience import Patience
from wan22lora.models.places import target
from wan22lora.models.previous import kept_files, set_aside
from wan22lora.models.progress import Reporter, gigabytes
from wan22lora.models.record import expected_sha256, keep_record, revision_for
from wan22lora.models.state import Standing, standing, standings
from wan22lora.models.troubles import Trouble

SPARE = 1_000_000_000
"""Bytes that stay free on the disk: a full one breaks more than a download."""
_WRONG_CONTENTS = 2
"""How often a file may arrive whole and wrong."""


def to_fetch(models: Path, files: Iterable[ModelFile]) -> tuple[Standing, ...]:
    """What a fetch would bring, in its order: everything that is not here or is not what it should be."""
    return tuple(found for found in standings(models, files) if found.state != "here")


def lacking_space(models: Path, wanted: Iterable[Standing]) -> Finding | None:
    """Whether the disk is too small for them, by how much, and which files here no run would miss."""
    wanted = tuple(wanted)
    space, needed = space_at(models), sum(found.left for found in wanted)
    if space is None or not needed or space.free >= needed + SPARE:
        return None
    short = needed + SPARE - space.free
    fix = "free some space, or choose a folder on another disk: wan22lora models use DIR"
    return Finding(
        str(models),
        f"{gigabytes(needed)} are to be fetched and {gigabytes(space.free)} are free: {gigabytes(short)} are missing",
        "\n    → ".join([*removals(models, wanted), fix]),
    )


def removals(models: Path, wanted: Iterable[Standing]) -> Iterator[str]:
    """What no run would miss, as commands. A link is left out: without it nothing is freed."""
    wrong = [(found.path, found.why) for found in wanted if found.state == "wrong"]
    kept = [(path, "was kept by an earlier fetch") for path in kept_files(models, CATALOGUE)]
    for path, why in (*wrong, *kept):
        if path.is_file() and not path.is_symlink():
            yield f"{command('rm', path)}  frees {gigabytes(path.stat().st_size)}: it {why}"


def fetch(
    models: Path,
    files: Iterable[ModelFile],
    *,
    reporter: Reporter,
    hub: Hub | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Path, ...]:
    """Fetches what is missing or wrong; returns the paths that are new. A file in their way is kept beside them.

    Files that another process is fetching are waited for. Raises MachineError, and Interrupted on Ctrl-C.
    """
    chosen = tuple(files)
    wanted = to_fetch(models, chosen)
    if (lack := lacking_space(models, wanted)) is not None:
        raise MachineError("Nothing was fetched: the disk is too small.", findings=[lack])
    fetching = _Fetching(models, reporter, hub or Hub(), sleep)
    new: list[Path] = []
    with ExitStack() as claims:
        arrivals = [
            _claim(models, found.file, claims) for found in wanted
        ]  # all at once: each is on its way from now on
        for found, arrival in zip(wanted, arrivals, strict=True):
            try:
                if fetching.one(found, arrival):
                    new.append(arrival.path)
            except KeyboardInterrupt:
                raise Interrupted("stopped; what has arrived is kept", fix=_going_on(chosen)) from None
            finally:
                reporter.end()
    _point_to_tokenizer(models, chosen)
    return tuple(new)


def _going_on(files: Iterable[ModelFile]) -> str:
    """Named one by one, since without names another task's files would be fetched."""
    names = dict.fromkeys(file.name for file in files)
    return f"{command('wan22lora', 'models', 'fetch', *names)} goes on from there"


def _claim(models: Path, file: ModelFile, claims: ExitStack) -> Arrival:
    place = target(models, file)
    with written(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
    arrival = Arrival(place)
    arrival.take(seconds=0.5)  # longer than is_arriving holds it for its question
    claims.callback(arrival.leave)
    return arrival


class _Fetching:
    """What one call of fetch shares between its files."""

    def __init__(self, models: Path, reporter: Reporter, hub: Hub, sleep: Callable[[float], None]) -> None:
        self.models, self.reporter, self.hub, self.sleep = models, reporter, hub, sleep
        self.in_touch = False

    def one(self, found: Standing, arrival: Arrival) -> bool:
        """One file; False when another process has brought it meanwhile."""
        file = found.file
        if not arrival.held:
            self._wait_for_other(file, arrival)
        if standing(self.models, file).state == "here":
            return False
        if found.state == "wrong":
            self.reporter.say(f"{file.title}: {found.path.name} {found.why}; fetching it again")
        try:
            self._bring(file, arrival.path)
        except Trouble as trouble:
            raise MachineError(f"{file.title} was not fetched: {trouble.text}.", fix=trouble.fix) from None
        except OSError as error:
            raise _refused_by_disk(error, arrival.path) from None
        arrival.leave(complete=True)
        return True

    def _wait_for_other(self, file: ModelFile, arrival: Arrival) -> None:
        if not arrival.take():
            self.reporter.say(f"{file.title} is being fetched by another process; waiting for it")
            while not arrival.take(seconds=1):
                pass

    def _bring(self, file: ModelFile, place: Path) -> None:
        patience = Patience(self.sleep, self.reporter.say, in_touch=self.in_touch)
        wrong_contents = 0
        while True:
            try:
                offer = self._offer(file)
                self.in_touch = True
                part = part_path(place, offer.etag)
                drop_other_parts(place, keep=part)
                wrong = self._continue(file, offer, part, patience)
            except Trouble as trouble:
                patience.after(trouble)
                continue
            if not wrong:
                if told := set_aside(place):
                    self.reporter.say(f"  {told}")
                part.replace(place)
                return
            part.unlink()
            wrong_contents += 1
            if wrong_contents >= _WRONG_CONTENTS:
                raise Trouble(f"it arrived {wrong} {wrong_contents} times", fix=_FIX_WRONG_CONTENT)
            self.reporter.say(f"  {file.title} arrived {wrong}; fetching it again")

    def _offer(self, file: ModelFile) -> Offer:
        offer = self.hub.offer(file, revision_for(self.models, file))
        expected = expected_sha256(self.models, file)
        if expected is not None and offer.sha256 is not None and offer.sha256 != expected:
            raise Trouble(
                f"the hub offers another file than the one that is meant (sha256 {offer.sha256}, not {expected})",
                fix="look at HF_ENDPOINT if it is set; a mirror may be out of step",
            )
        return offer

    def _continue(self, file: ModelFile, offer: Offer, path: Path, patience: Patience) -> str:
        """Fetches the rest; returns what is wrong with the whole, empty when it is right and recorded."""
        total = offer.size if offer.size is not None else file.size
        length = path.stat().st_size if path.exists() else 0
        self.reporter.begin(file.title, total, length)

        def advanced(count: int) -> None:
            nonlocal length
            length += count
            self.reporter.advance(count)
            patience.reached(length)

        with Part(path, offer.size, advanced) as part:
            patience.reached(length)
            if offer.size is not None and part.length > offer.size:
                part.empty()
            try:
                self.hub.download(file, offer, cast(BinaryIO, part), part.length)
            except Trouble as trouble:
                if trouble.start_over or (offer.size is not None and part.length > offer.size):
                    part.empty()
                raise
            finally:
                self.reporter.end()
            part.to_disk()
            wrong = _difference(offer, part)
            if not wrong:
                keep_record(self.models, file, revision=offer.commit, size=part.length, sha256=part.sha256)
        return wrong


_FIX_WRONG_CONTENT = (
    "something between the hub and this machine changes it: a proxy, a mirror, or failing memory or disk"
)


def _difference(offer: Offer, part: Part) -> str:
    if offer.size is not None and part.length != offer.size:
        return f"with {part.length:,} bytes instead of {offer.size:,}"
    if (offer.sha256 or part.sha256) != part.sha256:
        return "with other contents than the hub announced"
    if offer.git_blob is not None and offer.size is not None and offer.git_blob != part.git_blob:
        return "with other contents than the hub announced"
    return ""


def _refused_by_disk(error: OSError, path: Path) -> MachineError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        fix = "free some space and run the same command; what has arrived is kept"
        return MachineError(f"The disk of {path.parent} is full.", fix=fix)
    return MachineError(f"{error.filename or path} cannot be written: {error.strerror or error}.")


def _point_to_tokenizer(models: Path, files: Iterable[ModelFile]) -> None:
    """`refs/main` tells the hub's cache which snapshot `main` is; written last, so that it never names half of one."""
    pieces = [file for file in files if file.role == "tokenizer"]
    if pieces and pieces[0].revision is not None:
        reference = models / "hub" / TOKENIZER_FOLDER / "refs" / "main"
        if reference.is_file() and reference.read_bytes() == pieces[0].revision.encode():
            return
        with written(reference):
            reference.parent.mkdir(parents=True, exist_ok=True)
            write_text(reference, pieces[0].revision)
