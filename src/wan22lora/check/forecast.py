"""What a run will be: its batches and steps, room on disk, GPU memory, time and cost, as far as they are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wan22lora.check.speed import seconds_per_batch
from wan22lora.dataset.loads import BucketLoad
from wan22lora.dataset.predict import batches_per_epoch, steps_per_epoch, total_steps
from wan22lora.dataset.scan import Scan
from wan22lora.doctor.needs import run_folder_needs
from wan22lora.doctor.run_facts import Run
from wan22lora.plan.at_once import are_at_once
from wan22lora.plan.choice import expected_gib
from wan22lora.plan.fast_memory import largest
from wan22lora.plan.measured import NOTHING, Known, Measured
from wan22lora.plan.memory import batches_in_tokens, loading_gib
from wan22lora.plan.prepared import Prepared
from wan22lora.plan.weights import Weights
from wan22lora.spec.fast import computes_fast
from wan22lora.spec.resolved import Expert, Spec


@dataclass(frozen=True)
class Training:
    """One expert."""

    step: str
    steps_per_epoch: int
    steps: int
    gpu_gib: float | None
    """Peak in training; None for settings of which nothing is known."""
    loading_gib: float
    """Peak while loading where that is more; else 0."""
    seconds: float | None
    """Of its steps alone; None where nothing like it was measured."""
    measured: Measured | None = None
    """A training like it on this kind of GPU, which `seconds` are from, and `gpu_gib` where it tells of memory; None
    where they are from docs/benchmarks.md."""


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
    at_once: bool = False
    """The trainings run at the same time, each on a GPU of its own."""

    @property
    def seconds(self) -> float | None:
        """Of all trainings together, which is what GPUs are paid for; None where one is not known."""
        known = [each.seconds for each in self.trainings if each.seconds is not None]
        return sum(known) if known and len(known) == len(self.trainings) else None

    @property
    def waited(self) -> float | None:
        """Until the last training has ended."""
        if self.seconds is None or not self.at_once:
            return self.seconds
        return max(each.seconds or 0.0 for each in self.trainings)

    def cost(self, price: float) -> float | None:
        """At so much an hour, in its currency."""
        return None if self.seconds is None else self.seconds / 3600 * price


def forecast_of_folder(scans: Sequence[Scan]) -> Forecast:
    """What can be said without a run.yaml."""
    return Forecast(tuple((scan, scan.loads) for scan in scans), batches_per_epoch(scans))


def forecast_of_run(run: Run, known: Known = NOTHING, gpus: Sequence[str] = ()) -> Forecast:
    """Of the whole run, whatever of it is done already; `gpus` are those that it may use.

    Raises ValueError for a run whose spec could not be loaded.
    """
    if run.spec is None:
        raise ValueError("a forecast needs a spec")
    scans = run.prepared.trained if run.prepared is not None else run.scans
    processes = run.prepared.processes if run.prepared is not None else 1
    return replace(
        forecast_of_folder(scans),
        trainings=_trainings(run.spec, scans, processes, run.weights, known),
        disk=_disk(run, scans),
        at_once=are_at_once(run.spec, [expert.step for expert in run.spec.experts], gpus),
    )


def forecast_of_trainings(prepared: Prepared, known: Known) -> tuple[Training, ...]:
    """Of those that are still to run, whole."""
    due = {step.id for step in prepared.plan.steps if not step.fresh}
    all_of_them = _trainings(prepared.spec, prepared.trained, prepared.processes, prepared.weights, known)
    return tuple(each for each in all_of_them if each.step in due)


def _trainings(
    spec: Spec, scans: Sequence[Scan], processes: int, weights: Mapping[str, Weights], known: Known
) -> tuple[Training, ...]:
    return tuple(_training(spec, expert, scans, processes, weights, known) for expert in spec.experts)


def _training(
    spec: Spec, expert: Expert, scans: Sequence[Scan], processes: int, weights: Mapping[str, Weights], known: Known
) -> Training:
    settings = expert.settings
    batches = math.ceil(batches_per_epoch(scans) / processes)
    accumulation = settings.gradient_accumulation or 1
    steps = total_steps(batches, accumulation=accumulation, epochs=settings.epochs, steps=settings.steps)
    peak, seconds = expected_gib(spec, expert, largest(scans)), _seconds(spec, expert, scans, batches, steps)
    measured = known.of(spec, expert, scans, processes)
    if measured is not None:
        peak, seconds = measured.gib_of(spec, expert, scans) or peak, measured.seconds * steps
    loading = loading_gib(spec, expert, weights)
    return Training(
        expert.step,
        steps_per_epoch(batches, accumulation),
        steps,
        peak,
        loading if peak is not None and loading > peak else 0.0,
        seconds,
        measured,
    )


def _seconds(spec: Spec, expert: Expert, scans: Sequence[Scan], batches: int, steps: int) -> float | None:
    """From docs/benchmarks.md; `batches` are those of an epoch for each process."""
    each = seconds_per_batch(
        expert,
        spec.speed if computes_fast(spec, expert) else "reference",
        [tokens for scan in scans for tokens in batches_in_tokens(scan)],
        clips=any(scan.source.kind == "videos" for scan in scans),
    )
    settings = expert.settings
    trained = (
        settings.epochs * batches if settings.epochs is not None else steps * (settings.gradient_accumulation or 1)
    )
    return None if each is None else each * trained


def _disk(run: Run, trained: Sequence[Scan]) -> Disk:
    everything = replace(run, prepared=None)  # also what earlier runs left
    caches = sum(need.amount for need in run_folder_needs(everything) if need.what == "caches")
    needs = tuple(run_folder_needs(replace(everything, scans=tuple(trained))))
    loras, states = (sum(need.amount for need in needs if need.what == what) for what in ("LoRA files", "states"))
    return Disk(caches, loras, states)
