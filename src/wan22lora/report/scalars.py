"""The curves of a run: what its trainings' events say, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from wan22lora.report.event_file import Scalar, write_event_file
from wan22lora.run.ledger import Event

FILE = "events.out.tfevents.0.wan22lora"
"""TensorBoard looks for `tfevents` in a name."""
_GIB = 2**30
_PLAIN = ("loss", "lr", "seconds")


def curves(events: Iterable[Event]) -> dict[str, list[Scalar]]:
    """By step id. A training that went on from a state has the points after it only once, from its last process."""
    found: dict[str, list[Scalar]] = {}
    for event in events:
        try:
            step_id = str(event["id"])
            if event["event"] == "training-begun":
                before = found.get(step_id, []) if event["state"] is not None else []
                found[step_id] = [each for each in before if each.step <= event["step"]]
            elif event["event"] in ("train-step", "validation"):
                found.setdefault(step_id, []).extend(list(_points(event)))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            continue
    return {step_id: points for step_id, points in found.items() if points}


def write_tensorboard(events: Iterable[Event], folder: Path) -> dict[str, Path]:
    """One folder with an event file for each training, as TensorBoard wants its runs; the files by step id."""
    files: dict[str, Path] = {}
    for step_id, points in curves(events).items():
        files[step_id] = folder / step_id / FILE
        write_event_file(files[step_id], points[0].wall_time, points)
    return files


def _points(event: Event) -> Iterator[Scalar]:
    at, step = float(event["t"]), int(event["step"])
    for tag, value in _values(event):
        if value is not None:
            yield Scalar(at, step, tag, float(value))  # type: ignore[arg-type]


def _values(event: Event) -> Iterator[tuple[str, object]]:
    if event["event"] == "validation":
        yield "validation/loss", event["loss"]
        for part in event["bins"]:
            yield f"validation/{part['low']:.0f}-{part['high']:.0f}", part["loss"]
        return
    for name in _PLAIN:
        yield name, event.get(name)
    losses: Mapping[str, object] = event.get("losses") or {}
    for name, value in losses.items():
        yield f"loss/{name}", value
    if event.get("gpu_peak") is not None:
        yield "gpu_peak GiB", event["gpu_peak"] / _GIB
