"""A forecast in sentences, one a line."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.check.forecast import Forecast, Training
from wan22lora.check.speed import MEASURED_ON
from wan22lora.dataset.loads import BucketLoad
from wan22lora.dataset.problems import counted


def forecast_lines(forecast: Forecast, price: float | None) -> Iterator[str]:
    for scan, loads in forecast.datasets:
        source = scan.source
        repeats = f", repeated {source.repeats} times" if source.repeats > 1 else ""
        yield f"{counted(len(scan.items), source.noun)} in {source.place}{repeats}"
        yield from (f"bucket {_shape(load)}: {load.count} in {_batches(load.batches)}" for load in loads)
    yield f"{_batches(forecast.batches)} an epoch"
    if forecast.disk is None:
        yield "Steps, sizes, memory and time depend on a run.yaml: give it instead of the folder."
        return
    for training in forecast.trainings:
        yield from _training(training)
    disk = forecast.disk
    yield f"disk: caches up to {_size(disk.caches)}, LoRA files {_size(disk.loras)}, states {_size(disk.states)}"
    if forecast.seconds is None:
        yield (
            "time: settings, pictures or clips like these were not measured (docs/benchmarks.md); for a GPU that is not"
            " in this machine, name its class in run.yaml: `hardware: 24gb`"
        )
        cost = "cost: not known without the time"
    else:
        yield (
            f"time: {_time(forecast.seconds)} for all steps on {MEASURED_ON}, the only GPU measured; loading,"
            " caching and saving come on top"
        )
        cost = f"cost: about {forecast.cost(price or 0):,.2f} for the steps, at {price or 0:,.2f} an hour of such a GPU"
    if price is not None:
        yield cost


def _training(training: Training) -> Iterator[str]:
    text = f"{training.step}: {training.steps:,} steps, {training.steps_per_epoch:,} an epoch"
    if training.gpu_gib is None:
        yield f"{text}; the GPU memory of such settings was not measured"
        return
    loading = f", {training.loading_gib:.1f} GiB while loading" if training.loading_gib else ""
    yield f"{text}; about {training.gpu_gib:.1f} GiB of GPU memory{loading}"


def _batches(count: int) -> str:
    return "1 batch" if count == 1 else f"{count:,} batches"


def _shape(load: BucketLoad) -> str:
    width, height, *frames = load.bucket
    return f"{width}×{height}" + (f", {counted(frames[0], 'frame')}" if frames else "")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
