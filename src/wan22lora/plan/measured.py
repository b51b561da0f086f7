"""What trainings were measured to take on a kind of GPU, kept in their run folders, for the forecasts of others.

A run's measured.json holds one entry for each of its trainings; the run that trains writes it, under the run's lock.
Whatever else lies there, broken, of another program or of a later version, counts as nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from wan22lora.dataset.scan import Scan
from wan22lora.files import read_file, read_json, write_json
from wan22lora.plan.adoption import runs_beside
from wan22lora.plan.choice import GpuMemory, expected_gib, memory_of, with_settings
from wan22lora.plan.fast_memory import Batch, largest
from wan22lora.plan.memory import batches_in_tokens
from wan22lora.spec.fast import computes_fast
from wan22lora.spec.resolved import Expert, Spec

FILE = "measured.json"
VERSION = 1
_MOST_BYTES = 100_000
_NEAR = 0.1
"""Share by which batches may be smaller or larger than the measured ones. A step's time is scaled by nothing: it grows
faster than the tokens do (docs/benchmarks.md), and how much faster was measured for `speed: reference` alone."""
_SHARE_NEAR = 0.05
"""What is kept may differ so much: 0.23 instead of 0.28 made a step 2 % longer. `hardware: auto` chooses it by what
happens to be free."""
_GIB = 2**30
_LATEST = 253_402_300_799.0
"""The last second of the year 9999; later there are no dates."""
_SETTINGS = (
    "rank",
    "network_dropout",
    "network_args",
    "optimizer",
    "optimizer_args",
    "gradient_accumulation",
    "max_grad_norm",
    "mixed_precision",
    "fp8_base",
    "fp8_scaled",
    "attention",
    "gradient_checkpointing_cpu_offload",
)
"""Keys of a training on which its time or memory depends, beside those of GpuMemory."""


@dataclass(frozen=True)
class Tokens:
    """Of a training's batches."""

    least: float
    mean: float
    most: float


@dataclass(frozen=True)
class Work:
    """A training as far as its time and memory depend on it."""

    settings: Mapping[str, str]
    """The GPU among them. All must agree."""
    memory: GpuMemory
    tokens: Tokens
    largest: Batch

    def is_like(self, other: Work) -> bool:
        """Whether what was measured of one may be said of the other."""
        mine, others = self.memory, other.memory
        return (
            self.settings == other.settings
            and (mine.checkpointing, mine.blocks_to_swap) == (others.checkpointing, others.blocks_to_swap)
            and mine.kept.cast_once == others.kept.cast_once
            and abs(mine.kept.share - others.kept.share) <= _SHARE_NEAR + 1e-9
            and all(map(_near, vars(self.tokens).values(), vars(other.tokens).values()))
        )


@dataclass(frozen=True)
class Measured:
    """One training, measured."""

    work: Work
    run: str
    at: float
    """Unix seconds."""
    steps: int
    """That were measured."""
    seconds: float
    """Of an optimizer step, in the mean."""
    gpu_peak: int | None
    """Bytes that torch had allocated at most; None where the program does not say."""

    def gib_of(self, spec: Spec, expert: Expert, scans: Sequence[Scan]) -> float | None:
        """The peak that such a training will have: the measured one, and what the estimates of both differ by."""
        if self.gpu_peak is None:
            return None
        now = expected_gib(spec, expert, largest(scans))
        then = expected_gib(spec, with_settings(expert, self.work.memory), self.work.largest)
        difference = now - then if now is not None and then is not None else 0.0
        return self.gpu_peak / _GIB + difference


@dataclass(frozen=True)
class Known:
    """All that is known of measured trainings here."""

    gpu: str | None
    """The kind of GPU that the run will train on; None where there is none, or nobody can say which."""
    measured: tuple[Measured, ...] = ()
    """The run's own first, then the newest."""

    def of(self, spec: Spec, expert: Expert, scans: Sequence[Scan], processes: int) -> Measured | None:
        """What may be said of this training."""
        work = work_of(spec, expert, scans, self.gpu, processes)
        return next((each for each in self.measured if work is not None and each.work.is_like(work)), None)


NOTHING = Known(None)


def work_of(spec: Spec, expert: Expert, scans: Sequence[Scan], gpu: str | None, processes: int) -> Work | None:
    """None where it is not known what will train, or where."""
    batches = [tokens for scan in scans for tokens in batches_in_tokens(scan)]
    if gpu is None or not batches:
        return None
    settings = {
        "gpu": gpu,
        "pin": spec.pin.name,
        "task": spec.task.name,
        "trainer": spec.trainer,
        "speed": spec.speed if computes_fast(spec, expert) else "reference",
        "processes": str(processes),
        "preservation": _preserving(expert),
        "options": json.dumps(dict(expert.options), sort_keys=True, default=str),
    }
    for key in _SETTINGS:
        value = getattr(expert.settings, key)
        if value not in (None, False, 0):
            settings[key] = json.dumps(value, sort_keys=True, default=str)
    tokens = Tokens(min(batches), fmean(batches), max(batches))
    return Work(settings, memory_of(expert), tokens, largest(scans))


def known_measurements(run_folder: Path, known_runs: Iterable[Path], gpu: str | None) -> Known:
    """What the run's own folder and those of other runs hold; rehearsals take no part."""
    if gpu is None:
        return NOTHING
    own = list(read_measured(run_folder).values()) if _is_real(run_folder) else []
    others = [
        each for run in runs_beside(run_folder, known_runs, rehearsal=False) for each in read_measured(run).values()
    ]
    newest = sorted(others, key=lambda each: each.at, reverse=True)
    return Known(gpu, (*sorted(own, key=lambda each: each.at, reverse=True), *newest))


def read_measured(run_folder: Path) -> dict[str, Measured]:
    """What was measured of each of a run's trainings, by the step's id; what cannot be read is left out."""
    try:
        found = json.loads(read_file(run_folder / FILE, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return {}
    trainings = found.get("trainings")
    if not isinstance(trainings, dict):
        return {}
    return {step: measured for step, told in trainings.items() if (measured := _from_json(told)) is not None}


def store_measured(run_folder: Path, step: str, measured: Measured) -> None:
    """Sets the entry of one training; the others stay. Raises OSError."""
    trainings = {**read_measured(run_folder), step: measured}
    told = {name: _as_json(each) for name, each in sorted(trainings.items())}
    write_json(run_folder / FILE, {"version": VERSION, "trainings": told})


def _preserving(expert: Expert) -> str:
    preservation = expert.settings.preservation
    if preservation is None:
        return "none"
    if preservation.probability is not None:
        return f"in {preservation.probability:g} of the batches"
    return f"every {preservation.every or 1}"


def _is_real(run_folder: Path) -> bool:
    return read_json(run_folder / "run.json").get("rehearsal") is False


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= _NEAR * max(one, other)


def _as_json(measured: Measured) -> dict[str, Any]:
    work = measured.work
    return {
        **{key: value for key, value in vars(measured).items() if key != "work"},
        "settings": dict(work.settings),
        "memory": work.memory.as_json() | {"cast_once": work.memory.kept.cast_once},
        "tokens": vars(work.tokens),
        "largest": vars(work.largest),
    }


def _from_json(told: object) -> Measured | None:
    try:
        return _read(told)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _read(told: Any) -> Measured:
    """Raises what a stranger's values bring about."""
    settings = told["settings"]
    memory = GpuMemory.from_json(told["memory"])
    if memory is None or not all(isinstance(value, str) for value in settings.values()):
        raise ValueError
    memory = replace(memory, kept=replace(memory.kept, cast_once=told["memory"]["cast_once"] is True))
    tokens = Tokens(**{name: _positive(told["tokens"][name]) for name in ("least", "mean", "most")})
    batch = Batch(**{name: _count(told["largest"][name]) for name in ("tokens", "items")})
    peak = told["gpu_peak"]
    if not told["run"].isprintable():  # it is shown
        raise ValueError
    return Measured(
        Work(dict(settings), memory, tokens, batch),
        told["run"],
        min(_positive(told["at"]), _LATEST),
        _count(told["steps"]),
        _positive(told["seconds"]),
        None if peak is None else _count(peak),
    )


def _count(value: object) -> int:
    count = int(_positive(value))
    if not count:
        raise ValueError
    return count


def _positive(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError
    return float(value)
