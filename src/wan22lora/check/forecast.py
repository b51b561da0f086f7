"""What a run will be: its batches and steps, room on disk, GPU memory, time and cost, as far as they are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from wan22lora.check.speed import seconds_per_batch
from wan22lora.dataset.loads import BucketLoad
from wan22lora.dataset.predict import batches_per_epoch, steps_per_epoch, total_steps
from wan22lora.dataset.scan import Scan
from wan22lora.doctor.needs import run_folder_needs
from wan22lora.doctor.run_facts import Run
from wan22lora.plan.choice import expected_gib
from wan22lora.plan.fast_memory import largest
from wan22lora.plan.memory import loading_gib, tokens
from wan22lora.spec.fast import computes_fast
from wan22lora.spec.resolved import Expert


@dataclass(frozen=True)
class Training:
    """One expert."""

    step: str
    steps_per_epoch: int
    steps: int
    gpu_gib: float | None
    """Peak in training; None for settings that were not measured."""
    loading_gib: float
    """Peak while loading where that is more; else 0."""
    seconds: float | None
    """Of its steps alone, on the GPU that was measured; None where nothing like it was."""


@dataclass(frozen=True)
class Disk:
    """Bytes that a run writes into its folder, each at most."""

    caches: int
    loras: int
    states: int


@dataclass(frozen=True)
class Forecast:
    datasets: tuple[tuple[Scan, tuple[BucketLoad, ...]], ...]
    batches: int
    """Of an epoch."""
    trainings: tuple[Training, ...] = ()
    disk: Disk | None = None
    """None without a run.yaml."""

    @property
    def seconds(self) -> float | None:
        """Of all trainings; None where one is not known."""
        known = [each.seconds for each in self.trainings if each.seconds is not None]
        return sum(known) if known and len(known) == len(self.trainings) else None

    def cost(self, price: float) -> float | None:
        """At so much an hour, in its currency."""
        return None if self.seconds is None else self.seconds / 3600 * price


def forecast_of_folder(scans: Sequence[Scan]) -> Forecast:
    """What can be said without a run.yaml."""
    return Forecast(tuple((scan, scan.loads) for scan in scans), batches_per_epoch(scans))


def forecast_of_run(run: Run) -> Forecast:
    """Of the whole run, whatever of it is done already. Raises ValueError for a run whose spec could not be loaded."""
    if run.spec is None:
        raise ValueError("a forecast needs a spec")
    scans = run.prepared.trained if run.prepared is not None else run.scans
    forecast = forecast_of_folder(scans)
    return replace(
        forecast,
        trainings=tuple(_training(run, expert, scans, forecast.batches) for expert in run.spec.experts),
        disk=_disk(run, scans),
    )


def _training(run: Run, expert: Expert, scans: Sequence[Scan], batches: int) -> Training:
    assert run.spec is not None
    settings = expert.settings
    batches = math.ceil(batches / (run.prepared.processes if run.prepared else 1))
    accumulation = settings.gradient_accumulation or 1
    steps = total_steps(batches, accumulation=accumulation, epochs=settings.epochs, steps=settings.steps)
    peak = expected_gib(run.spec, expert, largest(scans))
    loading = loading_gib(run.spec, expert, run.weights)
    each = seconds_per_batch(
        expert,
        run.spec.speed if computes_fast(run.spec, expert) else "reference",
        list(chain.from_iterable(map(_tokens, scans))),
        clips=any(scan.source.kind == "videos" for scan in scans),
    )
    trained = settings.epochs * batches if settings.epochs is not None else steps * accumulation
    return Training(
        expert.step,
        steps_per_epoch(batches, accumulation),
        steps,
        peak,
        loading if peak is not None and loading > peak else 0.0,
        None if each is None else each * trained,
    )


def _tokens(scan: Scan) -> list[int]:
    """Of every bucket's whole batches and of its last, smaller one."""
    found = []
    for load in scan.loads:
        size = scan.source.batch_size
        counts = {min(size, load.count), load.count % size or min(size, load.count)}
        found += [tokens(*load.bucket) * count for count in counts]
    return found


def _disk(run: Run, trained: Sequence[Scan]) -> Disk:
    everything = replace(run, prepared=None)  # also what earlier runs left
    caches = sum(need.amount for need in run_folder_needs(everything) if need.what == "caches")
    needs = tuple(run_folder_needs(replace(everything, scans=tuple(trained))))
    loras, states = (sum(need.amount for need in needs if need.what == what) for what in ("LoRA files", "states"))
    return Disk(caches, loras, states)
