"""Room on the disks: what a setup and the run after it take, and whether it is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wan22lora.doctor.needs import LORA_NUMBERS, STATE_NUMBERS
from wan22lora.errors import Finding
from wan22lora.machine.settings import Machine
from wan22lora.machine.space import space_at
from wan22lora.setup.environment import DISK_GIGABYTES
from wan22lora.setup.model import Step
from wan22lora.setup.survey import Survey
from wan22lora.spec.resolved import Expert, Spec

_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4, None: 4}


@dataclass(frozen=True)
class Need:
    """Bytes that will be written under a folder."""

    what: str
    folder: Path
    gigabytes: float


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
            yield Need("weights", machine.models, step.download_gb)
    if spec is not None:
        yield Need(f"the run {spec.name}", spec.folder, sum(_run_gigabytes(expert) for expert in spec.experts))


def refusals_of_room(needs: Iterable[Need]) -> Iterator[Finding]:
    """One for each disk that is too small for all that is meant for it, with what is missing."""
    for folder, free, wanted in _disks(needs):
        total = sum(need.gigabytes for need in wanted)
        if total > free:
            parts = ", ".join(f"{need.what} {need.gigabytes:.1f}" for need in wanted)
            text = f"{total - free:.1f} GB are missing: {free:.1f} GB are free, {total:.1f} GB are needed ({parts})"
            fix = "make room, choose a larger disk, or keep the weights elsewhere: wan22lora models use PATH"
            yield Finding(f"disk of {folder}", text, fix)


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


def _run_gigabytes(expert: Expert) -> float:
    """The LoRA file, the checkpoints before it, and the states beside them, as the run's own numbers come to."""
    settings = expert.settings
    parameters = (settings.rank or 4) * LORA_NUMBERS
    kept = _kept(settings.epochs, settings.save_every_epochs, settings.keep_last_epochs)
    kept += _kept(settings.steps, settings.save_every_steps, settings.keep_last_steps)
    files = (1 + kept) * parameters * _BYTES[settings.save_precision]
    states = (1 + kept) * parameters * STATE_NUMBERS * 4 if settings.save_state else 0
    return (files + states) / 1e9


def _kept(length: int | None, every: int | None, keep_last: int | None) -> int:
    if not length or not every:
        return 0
    saved = (length - 1) // every
    return min(saved, max(1, keep_last // every)) if keep_last else saved


def _package_cache() -> Path:
    """Where pip and uv keep what they downloaded, both under the same folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
