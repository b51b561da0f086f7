"""Room on the disks: what a setup and the run after it take, and whether it is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wan22lora.doctor.needs import run_folder_needs
from wan22lora.doctor.run_facts import Run
from wan22lora.errors import Finding
from wan22lora.machine.settings import Machine
from wan22lora.machine.space import space_at
from wan22lora.models.fetch import removals
from wan22lora.setup.environment import DISK_GIGABYTES
from wan22lora.setup.model import Fetch, Step
from wan22lora.setup.survey import Survey
from wan22lora.spec.resolved import Spec


@dataclass(frozen=True)
class Need:
    """Bytes that will be written under a folder."""

    what: str
    folder: Path
    gigabytes: float
    removals: tuple[str, ...] = ()
    """Commands that would make room for it."""


def needs_of(steps: Iterable[Step], found: Survey, machine: Machine, spec: Spec | None) -> tuple[Need, ...]:
    """Everything that the steps and then the run will write."""
    return tuple(need for need in _needs(steps, found, machine, spec) if need.gigabytes > 0)


def _needs(steps: Iterable[Step], found: Survey, machine: Machine, spec: Spec | None) -> Iterator[Need]:
    for step in steps:
        if step.id == "musubi":
            yield Need("musubi-tuner", found.checkout.path, step.download_gb)
        elif step.id == "environment" and not step.fresh and step.download_gb:
            added = found.environment.state == "done" and step.download_gb < 1
            yield Need("its environment", found.environment.folder, step.download_gb * 2 if added else DISK_GIGABYTES)
            yield Need("downloaded packages", _package_cache(), step.download_gb)
        elif step.id == "weights":
            files = [found for action in step.actions if isinstance(action, Fetch) for found in action.files]
            yield Need("weights", machine.models, step.download_gb, tuple(removals(machine.models, files)))
    if spec is not None:
        written = sum(need.amount for need in run_folder_needs(Run(spec.file, spec=spec)))
        yield Need(f"the run {spec.name}", spec.folder, written / 1e9)


def refusals_of_room(needs: Iterable[Need]) -> Iterator[Finding]:
    """One for each disk that is too small for all that is meant for it, with what is missing."""
    for folder, free, wanted in _disks(needs):
        total = sum(need.gigabytes for need in wanted)
        if total > free:
            parts = ", ".join(f"{need.what} {need.gigabytes:.1f}" for need in wanted)
            text = f"{total - free:.1f} GB are missing: {free:.1f} GB are free, {total:.1f} GB are needed ({parts})"
            fix = "make room, choose a larger disk, or keep the weights elsewhere: wan22lora models use PATH"
            ways = [way for need in wanted for way in need.removals]
            yield Finding(f"disk of {folder}", text, "\n    → ".join([*ways, fix]))


def facts_of_room(needs: Iterable[Need]) -> Iterator[str]:
    for folder, free, wanted in _disks(needs):
        yield f"disk of {folder}: {free:.0f} GB free, about {sum(need.gigabytes for need in wanted):.1f} GB needed"


def _disks(needs: Iterable[Need]) -> Iterator[tuple[Path, float, list[Need]]]:
    by_device: dict[int, tuple[Path, float, list[Need]]] = {}
    for need in needs:
        space = space_at(need.folder)
        if space is not None:
            by_device.setdefault(space.device, (need.folder, space.free / 1e9, []))[2].append(need)
    yield from by_device.values()


def _package_cache() -> Path:
    """Where pip and uv keep what they downloaded, both under the same folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
