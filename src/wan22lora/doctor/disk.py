"""Checks of the disks: what is still to be written against what is free, folders on the same disk together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wan22lora.dataset.problems import listed
from wan22lora.doctor.check import Check, failure, gb, ok
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.needs import Need, run_folder_needs
from wan22lora.doctor.weights import needed
from wan22lora.errors import command
from wan22lora.machine.space import Space

ENVIRONMENT = 9_000_000_000
"""About what musubi-tuner's environment takes, torch and CUDA's libraries included."""


@dataclass(frozen=True)
class _Folder:
    """A folder, and what will be written into it."""

    name: str
    space: Space
    needs: tuple[Need, ...]
    fix: str

    @property
    def amount(self) -> int:
        return sum(need.amount for need in self.needs)


def disk(facts: Facts) -> Iterator[Check]:
    folders = list(_folders(facts))
    for device in dict.fromkeys(folder.space.device for folder in folders):
        yield _room([folder for folder in folders if folder.space.device == device])
    for folder in folders:
        if folder.needs and not folder.space.writable:
            text = f"You may not write into {folder.space.existing}, where {folder.space.folder} is to be."
            fix = command("sudo", "chown", "-R", facts.variables.get("USER", "$USER"), folder.space.existing)
            yield failure(f"disk-{folder.name}", text, fix)


def _folders(facts: Facts) -> Iterator[_Folder]:
    if facts.run_space is not None and facts.run is not None:
        fix = "`folder:` in run.yaml on another disk"
        yield _Folder("run", facts.run_space, tuple(run_folder_needs(facts.run)), fix)
    if facts.models_space is not None:
        fetched = tuple(Need(file.left, "weights") for file in needed(facts) if file.to_fetch or file.arriving)
        fix = "wan22lora models use FOLDER_ON_ANOTHER_DISK"
        yield _Folder("models", facts.models_space, fetched, fix)
    if facts.musubi_space is not None and facts.environment.state == "missing":
        environment = Need(ENVIRONMENT, "musubi-tuner's environment")
        yield _Folder("musubi", facts.musubi_space, (environment,), "wan22lora setup --musubi FOLDER_ON_ANOTHER_DISK")


def _room(folders: list[_Folder]) -> Check:
    """All folders of one disk."""
    space, amount = folders[0].space, sum(folder.amount for folder in folders)
    name = f"disk-{folders[0].name}"
    where = listed([str(folder.space.folder) for folder in folders if folder.needs] or [str(space.folder)], " and ")
    text = f"{gb(space.free)} are free for {where}"
    if not amount:
        return ok(name, text)
    parts: dict[str, int] = {}
    for folder in folders:
        for need in folder.needs:
            parts[need.what] = parts.get(need.what, 0) + need.amount
    largest_first = sorted(parts.items(), key=lambda part: -part[1])
    wanted = f"{gb(amount)} are needed ({', '.join(f'{what} {gb(size)}' for what, size in largest_first)})"
    if amount <= space.free:
        return ok(name, f"{text}; {wanted}")
    fix = max(folders, key=lambda folder: folder.amount).fix
    return failure(name, f"{text}; {wanted}, so {gb(amount - space.free)} are missing.", fix)
