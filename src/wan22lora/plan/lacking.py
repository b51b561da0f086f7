"""What a machine lacks to carry a plan out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from wan22lora.errors import Finding, command
from wan22lora.machine.settings import Machine
from wan22lora.models.arriving import is_arriving
from wan22lora.musubi.checkout import commit_from_files
from wan22lora.musubi.pins import Pin
from wan22lora.musubi.programs import TRAIN, Programs
from wan22lora.plan.model import Step, StepId
from wan22lora.plan.prepared import Prepared
from wan22lora.plan.shared import too_few_gpus
from wan22lora.plan.weights import Weights
from wan22lora.spec.resolved import Expert

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
    yield from _musubi(prepared.spec.pin, machine)
    yield from too_few_gpus(prepared.spec, machine)
    yield from dict.fromkeys(each for expert in prepared.spec.experts for each in _named_files(expert))
    for step in prepared.plan.steps:
        if not step.fresh and not arriving(prepared, step):
            yield from _weights(prepared.weights[WEIGHTS_OF_STEP[step.id]])


def _musubi(pin: Pin, machine: Machine) -> Iterator[Finding]:
    checkout = str(machine.musubi)
    if not machine.musubi.is_dir():
        yield Finding(
            checkout,
            f"is where musubi-tuner should be ({machine.musubi_from}), and is no folder",
            "wan22lora setup; or name a checkout with --musubi or WAN22LORA_MUSUBI",
        )
    elif not Programs(machine.musubi, machine.python).script(TRAIN).is_file():
        yield Finding(checkout, "is no checkout of musubi-tuner: src/musubi_tuner is not in it")
    elif (commit := commit_from_files(machine.musubi)) not in (None, pin.revision):
        yield Finding(
            checkout,
            f"is at {commit}; the run was checked against {pin.name} ({pin.revision[:7]}), and other revisions have "
            "other options and defaults",
            f"{command('git', '-C', checkout, 'checkout', '--detach', pin.revision)}, or wan22lora setup",
        )
    if not machine.python.exists():
        yield Finding(
            str(machine.python),
            "is where the Python of musubi's environment should be, and is not",
            "wan22lora setup; or name another with WAN22LORA_MUSUBI_PYTHON",
        )


def _named_files(expert: Expert) -> Iterator[Finding]:
    """Files that run.yaml names, weights aside."""
    start = expert.settings.network_weights
    if start and not Path(start).is_file():
        yield Finding(expert.where("network_weights"), f"{start} is not there")
    for name in ("sample_prompts", "resume"):
        given = expert.options.get(name)
        if given and not Path(str(given)).exists():
            yield Finding(expert.where_option(name), f"{given} is not there")


def _weights(weights: Weights) -> Iterator[Finding]:
    if weights.exists:
        return
    fix = "correct the path in run.yaml"
    if weights.fetched_as:
        fix = f"wan22lora models fetch {weights.fetched_as}; or models: {{{weights.name}: PATH}} in run.yaml"
    yield Finding(weights.where, f"{weights.path} is not there", fix)
