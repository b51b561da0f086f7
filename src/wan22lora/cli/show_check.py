"""What `check` found, and its forecast, for people and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from wan22lora.check.forecast import Forecast, Training
from wan22lora.check.remark import Level, Remark
from wan22lora.check.speed import MEASURED_ON
from wan22lora.dataset.predict import BucketLoad
from wan22lora.dataset.problems import counted, listed

_MARKS = {"error": "ERROR", "warning": "warning", "note": "advice"}
_INDENT = 11
Coloured = Callable[[str, Level], str]


def as_json(remarks: Sequence[Remark], forecast: Forecast, price: float | None) -> str:
    """`{"ok": bool, "remarks": [{"kind", "level", "where", "message", "why", "fix", "files"}], "forecast": {…}}`"""
    said = [
        {
            "kind": remark.kind,
            "level": remark.level,
            "where": _text(remark.where),
            "message": _text(remark.message),
            "why": _text(remark.why),
            "fix": _text(remark.fix),
            "files": [_text(name) for name in remark.files],
        }
        for remark in remarks
    ]
    return json.dumps(
        {"ok": all_well(remarks), "remarks": said, "forecast": _facts(forecast, price)}, indent=2, ensure_ascii=False
    )


def all_well(remarks: Sequence[Remark]) -> bool:
    return all(remark.level != "error" for remark in remarks)


def as_text(
    remarks: Sequence[Remark],
    forecast: Forecast,
    price: float | None,
    width: int = 80,
    coloured: Coloured = lambda text, _: text,
) -> str:
    """Lines of at most `width` columns; words longer than that, such as paths, stay whole."""
    lines: list[str] = []
    place = ""
    for remark in remarks:
        if remark.where != place:
            place = remark.where
            lines += ["", _text(place)] if lines else [_text(place)]
        lines += _remark(remark, width, coloured)
    lines += ["", "Forecast", *(line for fact in _forecast(forecast, price) for line in _wrapped(fact, width, 2))]
    return "\n".join([*lines, "", *_wrapped(_last(remarks), width, 0)]).lstrip("\n")


def _remark(remark: Remark, width: int, coloured: Coloured) -> Iterator[str]:
    mark = _MARKS[remark.level]
    names = f": {listed(remark.files)}" if remark.files else ""
    first, *rest = _wrapped(f"{remark.message}{names}.", width, _INDENT)
    yield f"  {coloured(mark, remark.level)}{' ' * (_INDENT - 2 - len(mark))}{first.strip()}"
    yield from rest
    if remark.why:
        yield from _wrapped(f"{remark.why[0].upper()}{remark.why[1:]}.", width, _INDENT)
    if remark.fix:
        yield from _wrapped(f"→ {remark.fix}", width, _INDENT, _INDENT + 2)


def _wrapped(text: str, width: int, indent: int, further: int | None = None) -> list[str]:
    return textwrap.wrap(
        " ".join(_text(text).split()),
        max(width, 40),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if further is None else further),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _text(name: str) -> str:
    """A file name may hold bytes that are no text, which no screen takes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _last(remarks: Sequence[Remark]) -> str:
    levels = [remark.level for remark in remarks]
    errors, warnings, notes = levels.count("error"), levels.count("warning"), levels.count("note")
    rest = f"{counted(warnings, 'warning')}, {notes} of advice."
    return f"{counted(errors, 'error') if errors else 'No errors'}, {rest}"


def _forecast(forecast: Forecast, price: float | None) -> Iterator[str]:
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
        yield "time: settings, pictures or clips like these were not measured (docs/benchmarks.md)"
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


def _facts(forecast: Forecast, price: float | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "datasets": [
            {
                "where": _text(str(scan.source.place)),
                "kind": scan.source.kind,
                "items": len(scan.items),
                "repeats": scan.source.repeats,
                "buckets": [
                    {"bucket": list(load.bucket), "files": load.files, "count": load.count, "batches": load.batches}
                    for load in loads
                ],
            }
            for scan, loads in forecast.datasets
        ],
        "batches_per_epoch": forecast.batches,
    }
    if forecast.disk is None:
        return facts
    return {
        **facts,
        "trainings": [
            {
                "step": each.step,
                "steps": each.steps,
                "steps_per_epoch": each.steps_per_epoch,
                "gpu_gib": each.gpu_gib,
                "loading_gib": each.loading_gib,
                "seconds": each.seconds,
            }
            for each in forecast.trainings
        ],
        "cache_bytes": forecast.disk.caches,
        "lora_bytes": forecast.disk.loras,
        "state_bytes": forecast.disk.states,
        "seconds": forecast.seconds,
        "measured_on": MEASURED_ON,
        **({"cost": forecast.cost(price), "price_per_hour": price} if price is not None else {}),
    }


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
