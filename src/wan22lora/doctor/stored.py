"""The weight files that are there, lack or are still arriving, and those that are not what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wan22lora.doctor.run_facts import Run
from wan22lora.models.arriving import is_arriving
from wan22lora.models.catalogue import CATALOGUE, ModelFile
from wan22lora.models.recognise import what_is_wrong
from wan22lora.models.state import standing
from wan22lora.plan.lacking import WEIGHTS_OF_STEP
from wan22lora.spec.tasks import TaskName


@dataclass(frozen=True)
class Stored:
    """One weight file of the catalogue or of a run."""

    name: str
    """What `wan22lora models fetch` calls it."""
    role: str
    """Its key under `models:` in run.yaml."""
    tasks: tuple[TaskName, ...]
    path: Path
    """Where it is or would be."""
    there: bool
    arriving: bool = False
    """Another process is fetching it."""
    wrong: str = ""
    """What it is instead, reading on after its name."""
    idle: bool = False
    """The steps of the run that would read it need not run."""
    left: int = 0
    """Bytes still to be fetched."""
    named: bool = False
    """run.yaml names a place of its own for it, so fetching would not help."""

    @property
    def missing(self) -> bool:
        return not self.there and not self.arriving and not self.idle

    @property
    def to_fetch(self) -> bool:
        return self.missing and not self.named


def stored_files(models: Path, run: Run | None) -> tuple[Stored, ...]:
    """The run's own weight files where there is a run, otherwise those of the folder of weights. Reads headers only."""
    if run is not None and run.spec is not None:
        return tuple(_of_run(models, run))
    return tuple(_in_folder(models, file) for file in CATALOGUE if file.role != "tokenizer")


def _in_folder(models: Path, file: ModelFile) -> Stored:
    found = standing(models, file)
    return Stored(
        file.name,
        file.role,
        file.tasks,
        found.path,
        there=found.state in ("here", "wrong"),
        arriving=found.state == "arriving",
        wrong=found.why,
        left=found.left,
    )


def _of_run(models: Path, run: Run) -> Iterator[Stored]:
    assert run.spec is not None
    task = run.spec.task.name
    fresh = [step.id for step in run.prepared.plan.steps if step.fresh] if run.prepared is not None else []
    idle = {WEIGHTS_OF_STEP[step] for step in fresh}
    for weights in run.weights.values():
        file = next(each for each in CATALOGUE if each.role == weights.name and task in each.tasks)
        usual = standing(models, file)
        there = weights.exists
        yield Stored(
            file.name,
            file.role,
            (task,),
            weights.path,
            there,
            arriving=not there and is_arriving(weights.path),
            # What is wrong with an expert is among the run's own findings, in run.yaml's words.
            wrong=_wrong(file, weights.path) if there and file.role in ("vae", "t5") else "",
            idle=weights.name in idle,
            left=usual.left if not there else 0,
            named=weights.path != usual.path,
        )


def _wrong(file: ModelFile, path: Path) -> str:
    try:
        return what_is_wrong(file, path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
