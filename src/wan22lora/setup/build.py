"""Wishes and what is on the machine → the plan of a setup."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding, MachineError
from wan22lora.machine.settings import Machine
from wan22lora.machine.torch_build import ARTICLE, BUILDS, TorchBuild, build_for, refusal
from wan22lora.musubi.environment import PYTHON_RANGE
from wan22lora.setup.checkout import checkout_notes, checkout_refusal, checkout_step
from wan22lora.setup.environment import Wanted, environment_step, makes_environment
from wan22lora.setup.model import Plan, Prove, Record, Step
from wan22lora.setup.packages import Extras, extras_for, modules_of
from wan22lora.setup.recorded import Recorded
from wan22lora.setup.room import facts_of_room, needs_of, refusals_of_room
from wan22lora.setup.survey import Environment, Survey
from wan22lora.setup.wishes import Wishes

_SUPPOSED = BUILDS["cu128"]
"""What a dry run shows where nobody knows the GPU yet."""


def plan_setup(wishes: Wishes, found: Survey, machine: Machine, recorded: Recorded, weights: Step | None) -> Plan:
    """The plan; what speaks against it is inside, so that a dry run can show both."""
    build, choice = _build(wishes, found)
    extras, notes = extras_for(wishes.spec, wishes.pin, build, article=wishes.article)
    wanted = Wanted(wishes.pin, build, extras)
    environment = environment_step(found.environment, wanted, found.checkout.path, found.uv, found.interpreter)
    makes = makes_environment(environment)
    steps = (
        checkout_step(found.checkout, wishes.pin, wishes.repository),
        environment,
        _proof(wishes, found, extras),
        _record(found, machine, recorded),
        *((weights,) if weights else ()),
    )
    needs = needs_of(steps, found, machine, wishes.spec)
    refusals = (
        *_tools_lacking(found, makes=makes),
        *_checkout_refusals(found, wishes),
        *choice,
        *refusals_of_room(needs),
    )
    return Plan(
        facts=(*_facts(found, makes=makes), *facts_of_room(needs)),
        steps=steps,
        refusals=tuple(finding for finding in refusals if finding.level == "error"),
        notes=(
            *(finding for finding in refusals if finding.level == "warning"),
            *checkout_notes(found.checkout, wishes.pin),
            *notes,
        ),
    )


def _build(wishes: Wishes, found: Survey) -> tuple[TorchBuild, tuple[Finding, ...]]:
    """The build of torch: the one that is asked for, the one that is there, the one that fits; and what is wrong."""
    gpu = found.gpu
    if wishes.article or wishes.build:
        build = ARTICLE if wishes.article else BUILDS[wishes.build or "cpu"]
        reason = refusal(build.name, gpu) if gpu else ""
        if reason:
            return build, (Finding(f"torch for {build.name}", f"would not run here: {reason}", "leave --torch out"),)
        if gpu or build.name == "cpu":
            return build, ()
        if wishes.build:
            text = "no NVIDIA GPU answers here, so nothing that is installed can be tried on one"
            return build, (Finding("GPU", text, "wan22lora doctor, on the machine that trains", "warning"),)
    if found.environment.state == "own":
        return _SUPPOSED, ()
    there = None if wishes.article else _build_there(found.environment)
    if there and not (gpu and refusal(there.name, gpu)):
        return there, ()
    if gpu is None:
        text = f"no NVIDIA GPU answers here, and the build of torch depends on it ({_SUPPOSED.name} is only supposed)"
        fix = "on a machine that has one: install its driver. To prepare a disk for such a machine: --torch cu128"
        return ARTICLE if wishes.article else _SUPPOSED, (Finding("GPU", text, fix),)
    try:
        return BUILDS[build_for(gpu)], ()
    except MachineError as error:
        return _SUPPOSED, (Finding("GPU", error.summary, error.fix),)


def _build_there(environment: Environment) -> TorchBuild | None:
    """The build that an environment of ours holds, or was to hold when its setup was stopped."""
    for build in (*BUILDS.values(), ARTICLE):
        if environment.marker.get("index") == build.index and environment.marker.get("torch") == list(build.packages):
            return build
    return None


def _proof(wishes: Wishes, found: Survey, extras: Extras) -> Step:
    expected = found.gpu is not None and wishes.build != "cpu"
    prove = Prove(found.checkout.path, found.environment.python, modules_of(extras, wishes.spec), expected)
    title = "Proof: musubi-tuner's Python imports what a run needs, and torch computes on the GPU"
    if not expected:
        title = "Proof: musubi-tuner's Python imports what a run needs"
    return Step("proof", title, False, "asked every time", (prove,))


def _record(found: Survey, machine: Machine, recorded: Recorded) -> Step:
    values = {
        "musubi": found.checkout.path,
        "musubi_python": found.environment.python,
        "models": machine.models,
    }
    title = f"Where things are, in {recorded.file}"
    if values.items() <= recorded.settings.items():
        return Step("record", title, True, "it says so already")
    return Step("record", title, False, "so that every command finds them", (Record(recorded.file, values),))


def _tools_lacking(found: Survey, *, makes: bool) -> Iterator[Finding]:
    if not found.git:
        yield Finding("git", "is not installed", "apt-get install git")
    environment, base = found.environment, found.interpreter
    if environment.state == "own" and not environment.python.exists():
        text = "does not exist, and setup makes no environment there"
        yield Finding(
            str(environment.python), text, "correct WAN22LORA_MUSUBI_PYTHON, or musubi_python in machine.yaml"
        )
    if found.uv or not makes:
        return
    if base is None:
        fix = "install one of them, or uv, which brings its own: pip install uv"
        yield Finding("Python", f"musubi-tuner needs Python {PYTHON_RANGE}, and there is none on PATH", fix)
    elif not base.can_venv:
        major, minor = base.version
        fix = f"apt-get install python{major}.{minor}-venv, or pip install uv"
        yield Finding(str(base.path), "cannot make environments: its ensurepip is not installed", fix)


def _checkout_refusals(found: Survey, wishes: Wishes) -> Iterator[Finding]:
    if not found.git:
        return
    refused = checkout_refusal(found.checkout, wishes.pin)
    if refused:
        yield refused


def _facts(found: Survey, *, makes: bool) -> Iterator[str]:
    yield f"git: {found.git or 'not installed'}"
    if found.environment.state == "own":
        yield f"Python of musubi-tuner: {found.environment.python}, your own"
    elif found.uv and makes:
        yield f"the environment is made with uv ({found.uv})"
    elif found.interpreter and makes:
        version = ".".join(map(str, found.interpreter.version))
        yield f"the environment is made with Python {version} ({found.interpreter.path}), venv and pip"
    gpu = found.gpu
    if gpu is None:
        yield "GPU: none that NVIDIA's driver knows of"
    else:
        yield f"GPU: {gpu.name}, its driver knows CUDA {gpu.cuda[0]}.{gpu.cuda[1]}"
