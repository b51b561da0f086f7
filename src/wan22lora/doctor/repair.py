"""The command that puts musubi-tuner's checkout or environment right."""

from __future__ import annotations

from collections.abc import Sequence

from wan22lora.doctor.facts import Facts
from wan22lora.errors import MachineError, command
from wan22lora.machine.settings import PYTHON_VARIABLE
from wan22lora.machine.torch_build import BUILDS, build_for, card_of
from wan22lora.musubi.environment import OPTIMIZER_PACKAGES

_ATTENTION = frozenset({"xformers.ops", "flash_attn", "flash_attn_interface"})
_SDPA = "train: {attention: sdpa} in run.yaml"
_PACKAGES = {"bitsandbytes": "bitsandbytes", "tensorboard": "tensorboard", "wandb": "wandb"}


def setup(facts: Facts) -> str:
    """What gets or repairs a checkout, and an environment that setup made."""
    words = ["wan22lora", "setup"]
    if facts.run is not None and facts.run.spec is not None:
        words.append(str(facts.run.file))
    if facts.machine.musubi_from == "--musubi":
        words += ["--musubi", str(facts.machine.musubi)]
    return command(*words)


def other_python(facts: Facts) -> str:
    """For a Python that is not there or does not serve."""
    if facts.machine.python.is_relative_to(facts.machine.musubi):
        return setup(facts)
    if facts.variables.get(PYTHON_VARIABLE):
        return f"unset {PYTHON_VARIABLE}"
    return f"edit {facts.settings}: musubi_python"


def install(facts: Facts) -> str:
    """What musubi-tuner itself demands. An environment that a person made is left alone by setup."""
    return setup(facts) if facts.made_by_setup else _pip(facts, ("-e", str(facts.machine.musubi)))


def module(facts: Facts, name: str) -> str:
    """A module that a run asks for."""
    if name in _ATTENTION:  # these must match torch to the digit, and pip would rather exchange torch
        return setup(facts) if facts.made_by_setup and name != "flash_attn_interface" else _SDPA
    package = {**OPTIMIZER_PACKAGES, **_PACKAGES}.get(name.partition(".")[0])
    if package is None:
        return f"install it into the environment of {facts.machine.python}"
    return setup(facts) if facts.made_by_setup else _pip(facts, (package,))


def install_torch(facts: Facts) -> str:
    """The build of torch that fits the driver."""
    card = card_of(facts.nvidia, facts.machine.gpu)
    if facts.made_by_setup:
        return setup(facts)
    if card is None:
        return ""
    try:
        build = BUILDS[build_for(card)]
    except MachineError as refused:
        return refused.fix
    return _pip(facts, ("--index-url", build.index, *build.packages))


def _pip(facts: Facts, words: Sequence[str]) -> str:
    python = str(facts.machine.python)
    if "pip" in facts.environment.distributions:
        return command(python, "-m", "pip", "install", *words)
    return command("uv", "pip", "install", "--python", python, *words)
