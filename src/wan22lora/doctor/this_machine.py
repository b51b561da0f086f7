"""Checks of what wan22lora itself stands on: system, Python, git, settings and variables."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora import __version__
from wan22lora.dataset.problems import listed
from wan22lora.doctor.check import Check, failure, ok, warning
from wan22lora.doctor.facts import Facts
from wan22lora.errors import command

OLDEST, TOO_NEW = (3, 10), (3, 14)
_DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
"""accelerate takes a run with these for one part of a distributed training (state.py)."""


def system(facts: Facts) -> Iterator[Check]:
    if facts.system != "Linux":
        name = {"Darwin": "macOS"}.get(facts.system, facts.system or "an unknown system")
        yield warning("system", f"This is {name}. Rehearsals and dry runs work; trainings are only tested on Linux.")


def own_python(facts: Facts) -> Iterator[Check]:
    version = ".".join(map(str, facts.python))
    text = f"Python {version} runs wan22lora {__version__}"
    if OLDEST <= facts.python[:2] < TOO_NEW:
        yield ok("python", text)
    else:
        yield warning("python", f"{text}, which is tested with 3.10 to 3.13.")


def git(facts: Facts) -> Iterator[Check]:
    if facts.git is not None:
        yield ok("git", f"git {facts.git}")
    elif facts.checkout.state == "there":
        yield warning("git", "git is not installed; only setup needs it.", "sudo apt-get install git")
    else:
        yield failure("git", "git is not installed, and musubi-tuner comes by it.", "sudo apt-get install git")


def settings(facts: Facts) -> Iterator[Check]:
    if facts.settings_problems:
        for finding in facts.settings_problems:
            text = f"{finding.where}: {finding.message}" if finding.where else finding.message
            yield failure("settings", text, finding.fix or f"edit {facts.settings}")
    elif facts.settings.is_file():
        yield ok("settings", f"Settings: {facts.settings}")
    else:
        yield ok("settings", f"No settings in {facts.settings}; everything is looked for in its default place.")


def variables(facts: Facts) -> Iterator[Check]:
    """Environment variables that have spoilt runs. PYTHONPATH is not one: every program gets its own."""
    given = facts.variables
    distributed = [name for name in _DISTRIBUTED if name in given]
    if distributed:
        text = f"{listed(distributed, ' and ')} set in this shell would make a training wait for others to join it."
        yield failure("variables", text, command("unset", *distributed))
    if "PYTHONHOME" in given:
        text = "PYTHONHOME is set, and musubi-tuner's Python would look for its library there."
        yield failure("variables", text, "unset PYTHONHOME")
    if given.get("CUDA_LAUNCH_BLOCKING", "0") != "0":
        text = "CUDA_LAUNCH_BLOCKING is set; it makes trainings slow."
        yield warning("variables", text, "unset CUDA_LAUNCH_BLOCKING")
    accelerate = sorted(name for name in given if name.startswith("ACCELERATE_"))
    if accelerate:
        text = f"{listed(accelerate, ' and ')} set in this shell may change how accelerate trains."
        yield warning("variables", text, command("unset", *accelerate))


def accelerate_config(facts: Facts) -> Iterator[Check]:
    if facts.accelerate_config is not None:
        text = f"{facts.accelerate_config} is left alone: each run brings an accelerate configuration of its own."
        yield ok("accelerate-config", text)
