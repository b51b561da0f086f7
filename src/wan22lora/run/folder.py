"""A run as a folder: its layout, its lock, the keys of finished steps, and what is moved out of the way.

run.json          whose folder this is, and whether it is a rehearsal's
events.jsonl      the ledger (run/ledger.py)
logs/             001-cache-latents.log, …: everything a program printed, byte for byte
steps/            <step id>.json: what the finished result of a step depends on
states/           <step id>/: what a training goes on from, and key.json, which says what it was trained with
output/           what the trainings write
learned/          <digest>.json: the cache files that a training learned from, and what they were made from
previous/         <UTC time>-<step id>/: outputs and states of earlier trainings
memory.json       memory settings above which the GPU's memory ran out
measured.json     what a step of each training took, for forecasts (plan/measured.py)
.lock, holder.json
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from wan22lora import __version__
from wan22lora.errors import MachineError, RunFolderError
from wan22lora.files import read_json, write_json, write_text, written
from wan22lora.plan.choice import GpuMemory
from wan22lora.plan.made_from import learned_file
from wan22lora.plan.model import PlannedFile
from wan22lora.plan.states import FINISHED_FILES, FOLDER, KEY_FILE, finished_file
from wan22lora.plan.trainer_options import LEDGER_FILE
from wan22lora.plan.training import LEARNED


class RunFolder:
    """The folder of one run. Creating the object touches no disk."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self.events = path / LEDGER_FILE
        self.logs = path / "logs"
        self.steps = path / "steps"
        self.states = path / FOLDER
        self.output = path / "output"
        self.previous = path / "previous"
        self.memory = path / "memory.json"
        self._marker = path / "run.json"
        self._holder = path / "holder.json"
        self._now = now

    def create(self) -> None:
        """Make the layout. Raises MachineError where the disk refuses."""
        try:
            for folder in (self.logs, self.steps, self.output):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(f"The run folder {self.path} cannot be made: {error.strerror}.") from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process out meanwhile. Raises RunFolderError if one is in already."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(
                f"The run folder {self.path} is in use{self._held_by()}.",
                fix="wait until it has ended, or stop it with Ctrl-C where it runs",
            ) from None
        except (OSError, NotImplementedError) as error:
            raise RunFolderError(
                f"The run folder {self.path} cannot be locked: {error}.",
                fix="choose a folder on a local disk",
            ) from None
        try:
            with written(self._holder):
                write_json(self._holder, {"pid": os.getpid(), "host": socket.gethostname(), "since": self._now()})
            yield
        finally:
            with suppress(OSError):
                self._holder.unlink()
            lock.release()

    def claim(self, name: str, *, rehearsal: bool) -> None:
        """Mark a new folder as this run's, or make sure that an old one is. Call it with the lock held.

        Raises RunFolderError for a rehearsal's folder in a real run, the reverse, and another run's folder.
        """
        if not self._marker.exists():
            write_json(
                self._marker,
                {"name": name, "rehearsal": rehearsal, "created": self._now(), "version": __version__},
            )
            return
        marker = read_json(self._marker)
        if not isinstance(marker.get("name"), str) or not isinstance(marker.get("rehearsal"), bool):
            raise RunFolderError(
                f"{self._marker} is damaged, so nobody knows whether its files come from a rehearsal.",
                fix=f"move {self.path} away and start again",
            )
        if marker["name"] != name:
            raise RunFolderError(
                f"{self.path} belongs to the run {marker['name']!r}, not to {name!r}.",
                fix="give this run another name or another folder",
            )
        if marker["rehearsal"] != rehearsal:
            holds, wanted = ("a rehearsal", "a real run") if marker["rehearsal"] else ("a real run", "a rehearsal")
            raise RunFolderError(
                f"{self.path} holds {holds}; {wanted} cannot continue there.",
                fix=f"give this one another folder, or delete {self.path}",
            )

    def key_file(self, step_id: str) -> Path:
        """Where the key of a finished step is."""
        return self.steps / f"{step_id}.json"

    def key(self, step_id: str) -> dict[str, str] | None:
        """What the finished result of a step depends on; None if it has none that can be read."""
        stored = read_json(self.key_file(step_id))
        if not stored or not all(isinstance(value, str) for value in stored.values()):
            return None
        return stored

    def store_key(self, step_id: str, key: Mapping[str, str]) -> None:
        """Record that a step is done. The last thing that happens to it."""
        write_json(self.key_file(step_id), dict(key))
        for path in (self.states / step_id).glob(FINISHED_FILES):  # the training is what it was extended to
            path.unlink()

    def forget_key(self, step_id: str) -> None:
        """Record that a step is not done (any more)."""
        self.key_file(step_id).unlink(missing_ok=True)

    def extend_key(self, step_id: str, end: int) -> None:
        """Record that a training which is finished with step `end` is being extended; until a state lies beyond it,
        it counts as finished (plan/states.py)."""
        with suppress(FileNotFoundError):
            self.key_file(step_id).replace(self.states / step_id / finished_file(end))

    def store_states_key(self, step_id: str, key: Mapping[str, str]) -> None:
        """Record what the states of a training are being trained with. The last thing before it starts.

        States without it, or with another one, are never continued; so what is there of another training must have
        been set aside before.
        """
        folder = self.states / step_id
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / KEY_FILE, dict(key))

    def at_most(self) -> GpuMemory | None:
        """Memory settings above which the GPU's memory ran out; None where it never did or the file says nothing."""
        return GpuMemory.from_json(read_json(self.memory) or {})

    def store_at_most(self, memory: GpuMemory, *, because: str) -> None:
        """Remember them for the next start, with the reason for a person who wonders."""
        write_json(self.memory, {**memory.as_json(), "because": because})

    def learned(self, digest: str) -> dict[str, dict[str, str]]:
        """What a training with this digest learned from; nothing where that was not written down or is damaged."""
        stored = read_json(learned_file(self.path, digest)) if digest else {}
        return stored if all(isinstance(key, dict) for key in stored.values()) else {}

    def store_learned(self, digest: str, records: Mapping[str, Mapping[str, str]]) -> None:
        """Write down what the training that is about to start learns from, and forget what none here did."""
        file = learned_file(self.path, digest)
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            write_json(file, {name: dict(key) for name, key in records.items()})
        keys = (*self.steps.glob("*.json"), *self.states.glob("*/*.json"))
        known = {digest, *(read_json(key).get(LEARNED) for key in keys)}
        for other in file.parent.glob("*.json"):
            if other.stem not in known:
                other.unlink()

    def new_log(self, step_id: str) -> Path:
        """Create the empty log file of an attempt, under a number that no log has had."""
        numbers = (re.match(r"(\d+)-", path.name) for path in self.logs.iterdir())
        number = max((int(match[1]) for match in numbers if match), default=0) + 1
        log = self.logs / f"{number:03d}-{step_id}.log"
        log.open("xb").close()
        return log

    def set_aside(self, paths: Iterable[Path], step_id: str) -> Path | None:
        """Move what exists of an earlier attempt to a new folder under `previous`; None if nothing does."""
        present = [path for path in paths if path.exists() or path.is_symlink()]
        if not present:
            return None
        shelf = self._new_shelf(step_id)
        for path in present:
            name = FOLDER if path.parent == self.states else path.name
            shutil.move(path, _free_name(shelf, name))
        return shelf

    def keep_copies(self, paths: Iterable[Path], step_id: str) -> Path | None:
        """Keep what exists of these files in a new folder under `previous` too; None if all that does is there already.

        They must be replaced later, not written into: where the disk can, a copy is the same file under two names.
        """
        present = [path for path in paths if path.is_file() and not self._has_copy(path, step_id)]
        if not present:
            return None
        shelf = self._new_shelf(step_id)
        for path in present:
            try:
                os.link(path, shelf / path.name)
            except OSError:
                shutil.copy2(path, shelf / path.name)
        return shelf

    def _has_copy(self, path: Path, step_id: str) -> bool:
        kept = (shelf / path.name for shelf in self.previous.glob(f"*-{step_id}*"))
        return any(each.is_file() and filecmp.cmp(path, each) for each in kept)

    def _new_shelf(self, step_id: str) -> Path:
        stamp = datetime.fromtimestamp(self._now(), timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        return _new_folder(self.previous, f"{stamp}-{step_id}")

    def write_planned(self, files: Iterable[PlannedFile]) -> tuple[Path, ...]:
        """Make the planned files stand as planned; returns those that were new or different."""
        changed = [file for file in files if _text(file.path) != file.content]
        for file in changed:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(file.path, file.content)
        return tuple(file.path for file in changed)

    def _held_by(self) -> str:
        holder = read_json(self._holder)
        try:
            since = datetime.fromtimestamp(holder["since"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            return f" by process {holder['pid']} on {holder['host']} since {since}"
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return " by another process"


def _text(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8", newline="") as file:
        return file.read()
    return None


def _new_folder(parent: Path, name: str) -> Path:
    for suffix in ("", *(f"-{number}" for number in range(2, 10_000))):
        folder = parent / f"{name}{suffix}"
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise RunFolderError(f"{parent} is full of folders named {name}.", fix="clear it out")


def _free_name(folder: Path, name: str) -> Path:
    candidates = (folder / f"{prefix}{name}" for prefix in ("", *(f"{number}-" for number in range(2, 10_000))))
    return next(path for path in candidates if not path.exists() and not path.is_symlink())
