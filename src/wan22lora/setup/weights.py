"""The weights of a task as a step: what is there stays, what is missing or wrong is fetched in the order of use."""

from __future__ import annotations

from pathlib import Path

from wan22lora.models.catalogue import files_of
from wan22lora.models.fetch import to_fetch
from wan22lora.setup.model import Fetch, Step
from wan22lora.setup.wishes import Wishes


def weights_step(wishes: Wishes, models: Path) -> Step:
    """Files that run.yaml names by a path of its own are not looked for here."""
    named = set(wishes.spec.models) if wishes.spec else set()
    wanted = [file for file in files_of(wishes.task) if file.role not in named]
    missing = to_fetch(models, wanted)
    title = f"Weights of {wishes.task} in {models}"
    if not missing:
        return Step("weights", title, True, "all of them are there")
    size = sum(found.left for found in missing) / 1e9
    names = dict.fromkeys(found.file.name for found in missing)
    why = "not there yet" if len(missing) == len(wanted) else f"{', '.join(names)} missing or not whole"
    return Step("weights", title, False, why, (Fetch(models, missing),), size)
