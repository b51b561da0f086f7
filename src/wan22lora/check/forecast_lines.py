"""A forecast in sentences, one a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from wan22lora.check.forecast import Forecast, Training, forecast_of_trainings
from wan22lora.check.speed import MEASURED_ON
from wan22lora.dataset.problems import counted
from wan22lora.errors import Finding
from wan22lora.plan.measured import Known, Measured
from wan22lora.plan.prepared import Prepared


def forecast_lines(forecast: Forecast, price: float | None) -> Iterator[str]:
    for scan, loads in forecast.datasets:
        source = scan.source
        repeats = f", repeated {source.repeats} times" if source.repeats > 1 else ""
        yield f"{counted(len(scan.items), source.noun)} in {source.place}{repeats}"
        yield from (f"bucket {load}" for load in loads)
    yield f"{counted(forecast.batches, 'batch')} an epoch"
    if forecast.disk is None:
        yield "Steps, sizes, memory and time depend on a run.yaml: give it instead of the folder."
        return
    for training in forecast.trainings:
        yield from _training(training)
    disk = forecast.disk
    yield f"disk: caches up to {_size(disk.caches)}, LoRA files {_size(disk.loras)}, states {_size(disk.states)}"
    if forecast.seconds is None or forecast.waited is None:
        yield (
            "time: settings, pictures or clips like these were not measured (docs/benchmarks.md); it is known once a"
            " training like this has run here; for a GPU that is not in this machine, name its class in run.yaml:"
            " `hardware: 24gb`"
        )
        cost = "cost: not known without the time"
    else:
        where = _measured(forecast.trainings)
        steps = "all steps, both experts at the same time" if forecast.at_once else "all steps"
        yield f"time: {_time(forecast.waited)} for {steps}, {where}; loading, caching and saving come on top"
        cost = f"cost: about {forecast.cost(price or 0):,.2f} for the steps, at {price or 0:,.2f} an hour of such a GPU"
    if price is not None:
        yield cost


def with_forecast(prepared: Prepared, known: Known) -> Prepared:
    """The plan with a note on the trainings that are due and whose time is known; one note for those that are alike."""
    begun: dict[str, int] = {step.id: step.continues.step for step in prepared.plan.steps if step.continues is not None}
    alike: dict[str, list[str]] = {}
    for training in forecast_of_trainings(prepared, known):
        text = _due(training, begun.get(training.step, 0))
        if text is not None:
            alike.setdefault(text, []).append(training.step)
    notes = tuple(Finding("forecast", f"{' and '.join(steps)}: {text}", level="note") for text, steps in alike.items())
    return replace(prepared, plan=replace(prepared.plan, notes=(*prepared.plan.notes, *notes)))


def _due(training: Training, done: int) -> str | None:
    """What is left of a training of which so many steps are done; None where no time is known."""
    if training.seconds is None or training.steps <= done:
        return None
    left, each = training.steps - done, training.seconds / training.steps
    steps, take = ("step", "takes") if left == 1 else ("steps", "take")
    text = f"{left:,} {steps}{' more' if done else ''} {take} {_about(left * each)} ({each:.3g} s each)"
    if training.measured is not None and training.measured.gpu_peak is not None:
        text += f" and {training.gpu_gib:.1f} GiB"
    return f"{text}, {_measured((training,))}"


def _measured(trainings: Sequence[Training]) -> str:
    """Where and when the times of all trainings were measured."""
    found = [each.measured for each in trainings]
    own = list(dict.fromkeys(_where(each) for each in found if each is not None))
    if None in found:
        own.append(f"on {MEASURED_ON}, the GPU of docs/benchmarks.md")
    return f"measured {' and '.join(own)}"


def _where(measured: Measured) -> str:
    day = datetime.fromtimestamp(measured.at, timezone.utc).date()
    return f"on this kind of GPU ({measured.work.settings['gpu']}) on {day} in run {measured.run}"


def _training(training: Training) -> Iterator[str]:
    text = f"{training.step}: {training.steps:,} steps, {training.steps_per_epoch:,} an epoch"
    if training.gpu_gib is None:
        yield f"{text}; the GPU memory of such settings was not measured"
        return
    loading = f", {training.loading_gib:.1f} GiB while loading" if training.loading_gib else ""
    about = "" if training.measured is not None and training.measured.gpu_peak is not None else "about "
    yield f"{text}; {about}{training.gpu_gib:.1f} GiB of GPU memory{loading}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _about(seconds: float) -> str:
    time = _time(seconds)
    return time if time.startswith("under") else f"about {time}"


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
