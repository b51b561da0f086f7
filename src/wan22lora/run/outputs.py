"""What earlier attempts of a training left beside its result."""

from __future__ import annotations

import re
from pathlib import Path

from wan22lora.musubi.names import SUFFIX, checkpoint_of
from wan22lora.plan.model import Step

_STATE = "-state"
_AVERAGE = f"-ema{SUFFIX}"


def earlier_outputs(step: Step) -> tuple[Path, ...]:
    """Results, checkpoints, states and sample pictures that bear the training's name.

    A training that starts numbering at 1 again would overwrite the first of them and leave the others, so that files
    of two trainings could not be told apart. One that continues keeps them. Empty for the caching steps, whose files
    are kept or removed one by one.
    """
    if step.id.startswith("cache-") or step.continues is not None:
        return ()
    return tuple(dict.fromkeys(path for result in step.writes for path in _left_by(result)))


def _left_by(result: Path) -> list[Path]:
    name = result.stem
    # trainer_base.py:981-1006 at v0.3.4: NAME_e000001_… after an epoch, NAME_000100_… after a step.
    sample = re.compile(rf"{re.escape(name)}_(e\d{{6}}|\d{{6}})_.*")
    return [
        *(path for path in _listed(result.parent) if _is_of(name, path.name)),
        *(path for path in _listed(result.parent / "sample") if sample.fullmatch(path.name)),
    ]


def _is_of(name: str, file: str) -> bool:
    if file.endswith(_STATE):
        file = file[: -len(_STATE)] + SUFFIX
    if file.endswith(_AVERAGE):
        file = file[: -len(_AVERAGE)] + SUFFIX
    return checkpoint_of(name, file) is not None


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
