"""Checks of musubi-tuner's Python and of what it can import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wan22lora.dataset.problems import listed
from wan22lora.doctor.check import Check, failure, ok, warning
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.repair import install, install_torch, module, other_python
from wan22lora.musubi.environment import OLDEST_PYTHON, TOO_NEW_PYTHON
from wan22lora.musubi.programs import CACHE_LATENTS, CACHE_TEXT, TRAIN

_PROGRAMS = tuple(f"musubi_tuner.{program}" for program in (CACHE_LATENTS, CACHE_TEXT, TRAIN))


def python(facts: Facts) -> Iterator[Check]:
    found, path = facts.environment, facts.machine.python
    if found.state == "missing" and facts.checkout.state == "missing" and path.is_relative_to(facts.machine.musubi):
        return  # it would be inside the checkout, which is told to be missing
    if found.state == "missing":
        yield failure("musubi-python", f"musubi-tuner's Python is not there: {path}.", other_python(facts))
    elif found.state == "cannot start":
        yield failure("musubi-python", f"{path} cannot be used: {found.detail}.", other_python(facts))
    elif found.version is not None:
        version = ".".join(map(str, found.version))
        if OLDEST_PYTHON <= found.version[:2] < TOO_NEW_PYTHON:
            yield ok("musubi-python", f"Python {version} in {path}")
        else:
            text = f"{path} is Python {version}; musubi-tuner needs 3.10, 3.11 or 3.12."
            yield failure("musubi-python", text, other_python(facts))


def packages(facts: Facts) -> Iterator[Check]:
    """What the environment must be able to import, and what the run asks for on top of it."""
    found = facts.environment
    if found.state != "asked":
        return
    broken = {name: error for name, error in found.errors.items() if name not in facts.wanted and name != "torch.cuda"}
    if broken:
        text = (
            f"musubi-tuner's environment cannot import {listed((_reason(each) for each in broken.items()), ' and ')}."
        )
        of_torch = broken.keys() & {"torch", "torchvision"}
        yield failure("packages", text, install_torch(facts) if of_torch else install(facts))
    elif found.modules:
        proved = "; its three programs can be imported" if set(_PROGRAMS) <= set(found.modules) else ""
        yield ok("packages", f"{_versions(found.modules)}{proved}")
    for name, setting in facts.wanted.items():
        if name in found.errors:
            text = f"`{setting}` needs {name}, which cannot be imported: {found.errors[name]}."
            yield failure(f"package-{name}", text, module(facts, name))
        elif name in found.modules:
            yield ok(f"package-{name}", f"{name} {found.modules[name]}".strip() + f" for `{setting}`")
    demanded = facts.checkout.requirements or {}
    others = [
        f"{name} {version} (it demands {demanded[name]})"
        for name, version in found.distributions.items()
        if name in demanded and demanded[name] != version
    ]
    if others:
        text = f"Other versions than musubi-tuner demands: {listed(others, ' and ')}."
        yield warning("package-versions", text, install(facts))


def _versions(modules: Mapping[str, str]) -> str:
    shown = ("torch", "accelerate", "transformers")
    return ", ".join(f"{name} {modules[name]}" for name in shown if name in modules) or "packages are there"


def _reason(entry: tuple[str, str]) -> str:
    name, error = entry
    if error.startswith("ModuleNotFoundError") and f"'{name.partition('.')[0]}'" in error:
        return name
    return f"{name} ({error})"
