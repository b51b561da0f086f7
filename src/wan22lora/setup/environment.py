"""From whatever stands in the environment's place to one that holds torch, musubi and what a run needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan22lora.machine.torch_build import TorchBuild
from wan22lora.musubi.environment import PYTHON_RANGE
from wan22lora.musubi.pins import Pin
from wan22lora.setup.interpreter import Interpreter
from wan22lora.setup.model import Action, Move, Remove, Run, Step, Write
from wan22lora.setup.packages import Extras
from wan22lora.setup.survey import Environment

MUSUBI_GIGABYTES = 0.5
"""About what musubi-tuner's own requirements download (opencv, bitsandbytes, transformers, …)."""
DISK_GIGABYTES = 9.0
"""About what the finished environment takes."""
_WITH_TORCH_GIGABYTES = 0.1


@dataclass(frozen=True)
class Wanted:
    """What an environment is to hold."""

    pin: Pin
    build: TorchBuild
    extras: Extras

    @property
    def foundation(self) -> dict[str, object]:
        """What nothing can be exchanged of in a finished environment: then it is made anew."""
        return {"musubi": self.pin.revision, "index": self.build.index, "torch": list(self.build.packages)}


def environment_step(found: Environment, wanted: Wanted, checkout: Path, uv: str, base: Interpreter | None) -> Step:
    """`base` is the Python to make it with; None leaves the choice to uv, and is an obstacle without it."""
    title = f"Python environment {found.folder} with torch {wanted.build.torch} ({wanted.build.name})"
    tidy = (Remove(found.rubbish),) if found.rubbish.exists() else ()
    if found.state == "own":
        title = f"Python environment {found.folder}"
        return Step("environment", title, not tidy, "it is your own, and stays as it is", tidy)
    same = _foundation_of(found.marker) == wanted.foundation
    installed = frozenset(_names(found.marker)) if same else frozenset()
    if same:
        wanted = Wanted(wanted.pin, wanted.build, wanted.extras.joined(_extras_of(found.marker)))
    tool = _Tool(found, uv)
    if found.state == "done" and same:
        missing = wanted.extras.beyond(installed)
        if not missing:
            return Step("environment", title, not tidy, "it holds what is needed", tidy)
        actions = (*tidy, _begun(found, wanted), *tool.installed(wanted.build, missing), _done(found, wanted))
        return Step("environment", title, False, f"it lacks {', '.join(missing.all)}", actions, _size(missing))
    why = {
        "absent": "not there yet",
        "half-done": "an earlier setup was stopped in the middle of it",
        "broken": "its Python does not start",
        "done": f"it was made for {_told(found.marker)}",
    }[found.state]
    away: tuple[Action, ...] = ()
    if found.state != "absent":
        away = (Move(found.folder, found.rubbish), Remove(found.rubbish))
    actions = (
        *tidy,
        *away,
        _begun(found, wanted),
        tool.made(base),
        tool.install("--index-url", wanted.build.index, *wanted.build.packages, *wanted.extras.torch),
        tool.install("-e", str(checkout), *wanted.build.packages, *wanted.extras.plain),
        *tool.compiled(wanted.extras),
        _done(found, wanted),
    )
    return Step(
        "environment", title, False, why, actions, wanted.build.gigabytes + MUSUBI_GIGABYTES + _size(wanted.extras)
    )


def makes_environment(step: Step) -> bool:
    """Whether it makes one anew, and so needs a Python that can."""
    return any(isinstance(action, Run) and "venv" in action.argv for action in step.actions)


class _Tool:
    """uv, or venv and pip."""

    def __init__(self, found: Environment, uv: str) -> None:
        self._folder = str(found.folder)
        self._python = str(found.python)
        self._uv = uv

    def made(self, base: Interpreter | None) -> Run:
        """Into the folder as it is: it holds the marker already."""
        if self._uv:
            python = str(base.path) if base else PYTHON_RANGE
            return Run((self._uv, "venv", "--allow-existing", "--python", python, self._folder))
        return Run((str(base.path) if base else "python3", "-m", "venv", self._folder))

    def install(self, *words: str) -> Run:
        if self._uv:
            return Run((self._uv, "pip", "install", "--python", self._python, *words))
        return Run((self._python, "-m", "pip", "install", "--no-input", *words))

    def compiled(self, extras: Extras) -> tuple[Run, ...]:
        """flash-attn asks for the installed torch while it is built, which an isolated build would not see."""
        if not extras.compiled:
            return ()
        helpers = self.install("packaging", "ninja", "setuptools", "wheel")
        return (helpers, self.install("--no-build-isolation", *extras.compiled))

    def installed(self, build: TorchBuild, extras: Extras) -> tuple[Run, ...]:
        """Additions to a finished environment; torch is named again so that nothing moves it."""
        torch = (self.install("--index-url", build.index, *build.packages, *extras.torch),) if extras.torch else ()
        plain = (self.install(*build.packages, *extras.plain),) if extras.plain else ()
        return (*torch, *plain, *self.compiled(extras))


def _begun(found: Environment, wanted: Wanted) -> Write:
    return Write(found.marker_path, _marker("begun", wanted))


def _done(found: Environment, wanted: Wanted) -> Write:
    return Write(found.marker_path, _marker("done", wanted))


def _marker(state: str, wanted: Wanted) -> str:
    extras = wanted.extras
    packages = {"torch": list(extras.torch), "plain": list(extras.plain), "compiled": list(extras.compiled)}
    return json.dumps({"state": state, **wanted.foundation, "packages": packages}) + "\n"


def _foundation_of(marker: Mapping[str, Any]) -> dict[str, object]:
    return {key: marker.get(key) for key in ("musubi", "index", "torch")}


def _extras_of(marker: Mapping[str, Any]) -> Extras:
    packages = marker.get("packages")
    if not isinstance(packages, dict):
        return Extras()
    kinds = (packages.get(kind) for kind in ("torch", "plain", "compiled"))
    return Extras(*(tuple(str(each) for each in kind) if isinstance(kind, list) else () for kind in kinds))


def _names(marker: Mapping[str, Any]) -> tuple[str, ...]:
    return _extras_of(marker).all if marker.get("state") == "done" else ()


def _told(marker: Mapping[str, Any]) -> str:
    torch = marker.get("torch")
    index = str(marker.get("index", "")).rpartition("/")[2]
    packages = " ".join(map(str, torch)) if isinstance(torch, list) else "another torch"
    return f"{str(marker.get('musubi', ''))[:7]} with {packages} ({index})"


def _size(extras: Extras) -> float:
    return _WITH_TORCH_GIGABYTES * len(extras.all)
