"""What `check` found, and its forecast, for people and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from wan22lora.check.forecast import Forecast, Training
from wan22lora.check.forecast_lines import forecast_lines
from wan22lora.check.remark import Level, Remark, in_short
from wan22lora.check.speed import MEASURED_ON
from wan22lora.dataset.problems import listed
from wan22lora.readable import readable

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
            lines += ["", readable(place)] if lines else [readable(place)]
        lines += _remark(remark, width, coloured)
    lines += ["", "Forecast", *(line for fact in forecast_lines(forecast, price) for line in _wrapped(fact, width, 2))]
    return "\n".join([*lines, "", *_wrapped(in_short(remarks), width, 0)]).lstrip("\n")


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
        " ".join(readable(text).split()),
        max(width, 40),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if further is None else further),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _text(name: str) -> str:
    """A file name may hold bytes that are no text, which JSON does not take."""
    return name.encode("utf-8", "backslashreplace").decode()


def _measured(training: Training) -> dict[str, Any] | None:
    """Where its seconds are from; None where there are none."""
    found = training.measured
    if found is not None:
        return {"gpu": found.work.settings["gpu"], "run": found.run, "at": found.at, "steps": found.steps}
    return None if training.seconds is None else {"gpu": MEASURED_ON, "run": None, "at": None, "steps": None}


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
                "measured": _measured(each),
            }
            for each in forecast.trainings
        ],
        "cache_bytes": forecast.disk.caches,
        "lora_bytes": forecast.disk.loras,
        "state_bytes": forecast.disk.states,
        "seconds": forecast.seconds,
        "at_once": forecast.at_once,
        **({"cost": forecast.cost(price), "price_per_hour": price} if price is not None else {}),
    }
