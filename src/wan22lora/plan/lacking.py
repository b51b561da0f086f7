"""What a machine lacks to carry a plan out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wan22lora.errors import Finding
from wan22lora.machine.settings import Machine
from wan22lora.musubi.programs import TRAIN, Programs
from wan22lora.plan.build import Prepared
from wan22lora.plan.model import StepId

WEIGHTS_OF_STEP: Mapping[StepId, str] = {
    "cache-latents": "vae",
    "cache-text": "t5",
    "train-high": "high",
    "train-low": "low",
    "train": "dit",
}
"""The weight file that a step reads, by its name under `models:`."""


def lacking(prepared: Prepared, machine: Machine) -> Iterator[Finding]:
    """What must be on the machine before the plan's steps can start."""
    programs = Programs(machine.musubi, machine.python)
    if not machine.musubi.is_dir():
        yield Finding(
            str(machine.musubi),
            f"is where musubi-tuner should be ({machine.musubi_from}), and is no folder",
            f"git clone the musubi-tuner repository there and check out {prepared.spec.pin.revision}, "
            "or name a checkout with --musubi or WAN22LORA_MUSUBI",
        )
    elif not programs.script(TRAIN).is_file():
        yield Finding(str(machine.musubi), "is no checkout of musubi-tuner: src/musubi_tuner is not in it")
    if not machine.python.exists():
        yield Finding(
            str(machine.python),
            "is where the Python of musubi's environment should be, and is not",
            "make it as musubi-tuner's README says (torch for your driver, then `pip install -e .`), "
            "or name another with WAN22LORA_MUSUBI_PYTHON",
        )
    for step in prepared.plan.steps:
        weights = prepared.weights[WEIGHTS_OF_STEP[step.id]]
        name = weights.name
        if step.fresh:
            continue
        if not weights.exists:
            yield Finding(weights.where, f"{weights.path} is not there", f"models: {{{name}: PATH}} in run.yaml")
