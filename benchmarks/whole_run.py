"""How much of a run's time its GPU trained, and where the rest went: from the ledger of a run.

python benchmarks/whole_run.py runs/NAME [STEPS]

The last whole run in the ledger is taken apart; with STEPS the same is reckoned for so many steps an expert: what comes
once is counted once, steps are multiplied, and a state comes every ten minutes. Exits with 1 where the GPU is without
training for 5 % or more of that.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

Event = Mapping[str, Any]
AIM = 0.05
STATE_EVERY = 600.0
"""Seconds between two states when run.yaml says nothing."""


def main() -> int:
    events = last_run([json.loads(line) for line in (Path(sys.argv[1]) / "events.jsonl").read_text().splitlines()])
    parts, trained, wall = taken_apart(events)
    show(f"as it ran, {wall:.1f} s", parts, trained)
    if len(sys.argv) < 3:
        return 0
    steps = int(sys.argv[2])
    parts, trained = reckoned(events, steps)
    share = show(f"{steps} steps an expert, reckoned", parts, trained)
    return 0 if share < AIM else 1


def last_run(events: Sequence[Event]) -> list[Event]:
    """From its beginning to its end, whatever ran before in the same folder."""
    begun = max(number for number, event in enumerate(events) if event["event"] == "run-started")
    return list(events[begun:])


def trainings(events: Sequence[Event]) -> dict[str, list[Event]]:
    """The events of each training that ran, by its id."""
    ids = [event["id"] for event in events if event["event"] == "step-started" and event["id"].startswith("train")]
    return {name: [event for event in events if event.get("id") == name] for name in ids}


def taken_apart(events: Sequence[Event]) -> tuple[dict[str, float], float, float]:
    """Seconds by what they went into, seconds of training, and all of them. Trainings come one after another."""
    parts: Counter[str] = Counter()
    trained = 0.0
    for own in trainings(events).values():
        once, each, count, states = measured(own)
        parts.update(once)
        parts["states"] += sum(states)  # type: ignore[assignment]
        trained += each * count
    caching = [each["t"] for each in events if each["event"] in ("step-started", "step-ended") and is_of_caching(each)]
    if caching:  # both may run at the same time
        parts["caches"] = max(caching) - min(caching)
    wall = events[-1]["t"] - events[0]["t"]
    return {**parts, "between the programs": wall - trained - sum(parts.values())}, trained, wall


def is_of_caching(event: Event) -> bool:
    return str(event.get("id")).startswith("cache")


def reckoned(events: Sequence[Event], steps: int) -> tuple[dict[str, float], float]:
    """As `taken_apart` for so many steps, with a state every ten minutes and at the end."""
    parts, _, _ = taken_apart(events)
    parts["states"] = trained = 0.0
    for own in trainings(events).values():
        _, each, _, states = measured(own)
        trained += each * steps
        parts["states"] += statistics.mean(states or [0.0]) * (1 + each * steps // STATE_EVERY)
    return parts, trained


def measured(own: Sequence[Event]) -> tuple[dict[str, float], float, int, list[float]]:
    """Of a training: what comes once, the median step, how many there were, and what each state took."""
    at = {event["event"]: event["t"] for event in reversed(own)}  # the first of each kind
    ends = [at["training-begun"], *(event["t"] for event in own if event["event"] == "train-step")]
    each = statistics.median(after - before for before, after in pairwise(ends))
    states = [event for event in own if event["event"] == "state"]
    within = sum(event["seconds"] for event in states if event["t"] <= ends[-1])
    (loaded,) = (event for event in own if event["event"] == "weights-loaded")
    count = len(ends) - 1
    once = {
        "start of the trainer": at["weights-loaded"] - loaded["seconds"] - at["step-started"],
        "loading weights": loaded["seconds"],
        "LoRA, optimizer, first batch": at["training-begun"] - at["weights-loaded"],
        "slower steps, compiling above all": ends[-1] - ends[0] - each * count - within,
        "last checkpoint, end of the trainer": at["step-ended"] - ends[-1],
    }
    once["last checkpoint, end of the trainer"] -= sum(event["seconds"] for event in states) - within
    return once, each, count, [event["seconds"] for event in states]


def show(title: str, parts: Mapping[str, float], trained: float) -> float:
    """Prints the table; the share of time in which the GPU did not train."""
    wall = trained + sum(parts.values())
    share = 1 - trained / wall
    print(f"{title}: {share:.1%} without training")
    for name, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"  {seconds:8.1f} s  {seconds / wall:6.2%}  {name}")
    return share


if __name__ == "__main__":
    sys.exit(main())
