"""What a machine lacks to carry a plan out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from wan22lora.errors import Finding
from wan22lora.machine.settings import Machine
from wan22lora.models.arriving import is_arriving
from wan22lora.musubi.checkout import commit_from_files
from wan22lora.musubi.programs import TRAIN, Programs
from wan22lora.plan.build import Prepared
from wan22lora.plan.model import Step, StepId
from wan22lora.plan.shared import too_few_gpus

WEIGHTS_OF_STEP: Mapping[StepId, str] = {
    "cache-latents": "vae",
    "cache-text": "t5",
    "train-high": "high",
    "train-low": "low",
    "train": "dit",
}
"""The weight file that a step reads, by its name under `models:`."""


def arriving(prepared: Prepared, step: Step) -> Path | None:
    """The weight file that the step must wait for because another process is still fetching it."""
    path = prepared.weights[WEIGHTS_OF_STEP[step.id]].path
    return path if not step.fresh and is_arriving(path) else None


def lacking(prepared: Prepared, machine: Machine) -> Iterator[Finding]:
    """What must be on the machine before the plan's steps can start; not the files that are on their way."""
    programs = Programs(machine.musubi, machine.python)
    if not machine.musubi.is_dir():
        yield Finding(
            str(machine.musubi),
            f"is where musubi-tuner should be ({machine.musubi_from}), and is no folder",
            "wan22lora setup; or name a checkout with --musubi or WAN22LORA_MUSUBI",
        )
    elif not programs.script(TRAIN).is_file():
        yield Finding(str(machine.musubi), "is no checkout of musubi-tuner: src/musubi_tuner is not in it")
    elif (commit := commit_from_files(machine.musubi)) not in (None, prepared.spec.pin.revision):
        pin = prepared.spec.pin
        yield Finding(
            str(machine.musubi),
            f"is at {commit}; the run was checked against {pin.name} ({pin.revision[:7]}), and other revisions have "
            "other options and defaults",
            f"git -C {shlex.quote(str(machine.musubi))} checkout --detach {pin.revision}, or wan22lora setup",
        )
    if not machine.python.exists():
        yield Finding(
            str(machine.python),
            "is where the Python of musubi's environment should be, and is not",
            "wan22lora setup; or name another with WAN22LORA_MUSUBI_PYTHON",
        )
    yield from too_few_gpus(prepared.spec, machine)
    for expert in prepared.spec.experts:
        if expert.settings.network_weights and not Path(expert.settings.network_weights).is_file():
            yield Finding(expert.where("network_weights"), f"{expert.settings.network_weights} is not there")
        for name in ("sample_prompts", "resume"):
            given = expert.options.get(name)
            if given and not Path(str(given)).exists():
                yield Finding(str(expert.option_origins[name]), f"{given} is not there")
    for step in prepared.plan.steps:
        weights = prepared.weights[WEIGHTS_OF_STEP[step.id]]
        if step.fresh or arriving(prepared, step):
            continue
        if not weights.exists:
            fix = "correct the path in run.yaml"
            if weights.fetched_as:
                fix = f"wan22lora models fetch {weights.fetched_as}; or models: {{{weights.name}: PATH}} in run.yaml"
            yield Finding(weights.where, f"{weights.path} is not there", fix)
