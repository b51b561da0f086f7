"""musubi's Python environment, asked in one process what it is, what it can import, and whether torch sees the GPU."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wan22lora.doctor import inside
from wan22lora.errors import MachineError
from wan22lora.machine.settings import Machine
from wan22lora.musubi.programs import CACHE_LATENTS, CACHE_TEXT, TRAIN, TRAINER, Programs, kept_kernels
from wan22lora.run.ask import Answer, ask

ASK_SECONDS = 240.0
"""Importing torch takes 2 s from a warm disk, and minutes from a network disk that was just attached."""
MODULES = (
    *("torch", "torchvision", "accelerate", "transformers", "diffusers", "safetensors", "einops"),
    *("av", "cv2", "easydict", "ftfy", "toml", "voluptuous", "musubi_tuner"),
)
"""What the three programs import at both pins, torch first."""
DISTRIBUTIONS = ("pip", "accelerate", "transformers", "diffusers", "huggingface-hub", "safetensors")
"""Packages whose version decides what a run does, or whether it runs."""


@dataclass(frozen=True)
class Torch:
    """torch in that environment."""

    version: str
    cuda: tuple[int, int] | None
    """The CUDA that it was built for; None for a build without."""
    available: bool
    """It sees a GPU."""
    trouble: str = ""
    """Its words where it does not, or where the GPU refused."""
    name: str = ""
    capability: tuple[int, int] | None = None
    architectures: tuple[str, ...] = ()
    """What it has kernels for: sm_90, compute_90 …"""
    computes: bool = False
    """A product of two small matrices came out right on the GPU."""


@dataclass(frozen=True)
class Compiling:
    """Whether the trainer can compile for the GPU: what it lacks, and what to type; empty where it lacks nothing."""

    lack: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Environment:
    """The answers."""

    state: Literal["missing", "cannot start", "asked"] = "missing"
    detail: str = ""
    """Why it cannot start."""
    version: tuple[int, int, int] | None = None
    modules: Mapping[str, str] = field(default_factory=dict)
    """Version by name (empty where a module tells none) of what can be imported."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why others cannot."""
    distributions: Mapping[str, str] = field(default_factory=dict)
    torch: Torch | None = None
    compiling: Compiling | None = None
    """None where it was not tried, since torch sees no GPU."""
    stuck_at: str = ""
    """What it was importing when it crashed or the time was over."""


def ask_environment(machine: Machine, wanted: Sequence[str] = (), *, timeout: float = ASK_SECONDS) -> Environment:
    """Starts musubi's Python once; `wanted` are modules that a run needs beside the usual ones."""
    if not machine.python.exists():
        return Environment()
    question = {
        "modules": list(dict.fromkeys((*MODULES, *wanted))),
        "programs": [f"musubi_tuner.{program}" for program in (CACHE_LATENTS, CACHE_TEXT, TRAIN)],
        "distributions": list(DISTRIBUTIONS),
        "compiling": str(TRAINER / "fast" / "ability.py"),
    }
    argv = [str(machine.python), "-c", Path(inside.__file__).read_text(encoding="utf-8"), json.dumps(question)]
    here = machine.musubi if machine.musubi.is_dir() else machine.python.parent
    variables = {**os.environ, **Programs(machine.musubi, machine.python).environment(machine.gpu, machine.hub)}
    if machine.kernels is not None:
        variables.update(kept_kernels(machine.kernels, os.environ))
    try:
        answer = ask(argv, cwd=here, env={**variables, "PYTHONDONTWRITEBYTECODE": "1"}, timeout=timeout)
    except MachineError as error:
        return Environment("cannot start", error.summary)
    return understood(answer)


def understood(answer: Answer) -> Environment:
    """The environment that the lines of inside.py describe."""
    told: dict[str, Any] = {}
    modules: dict[str, str] = {}
    errors: dict[str, str] = {}
    for line in answer.stdout.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the end of a line that a kill cut off
        if "module" in event:
            target, key = (errors, "error") if "error" in event else (modules, "version")
            target[event["module"]] = event[key]
        told.update(event)
    if "python" not in told:
        why = "no answer in time" if answer.timed_out else answer.last_line or f"exit code {answer.exit_code}"
        return Environment("cannot start", why)
    stuck_at = "" if "done" in told else told.get("asking", "")
    if stuck_at:
        how = "takes too long" if answer.timed_out else f"ends Python (exit code {answer.exit_code})"
        if stuck_at == "torch.compile":  # nothing that a training cannot do without
            told["compiling"] = {"text": f"torch.compile {how}", "fix": ""}
        else:
            errors[stuck_at] = how
    version: Sequence[int] = told["python"]
    return Environment(
        "asked",
        version=(version[0], version[1], version[2]),
        modules=modules,
        errors=errors,
        distributions=told.get("distributions", {}),
        torch=_torch(told["torch"]) if "torch" in told else None,
        compiling=Compiling(told["compiling"]["text"], told["compiling"]["fix"]) if "compiling" in told else None,
        stuck_at=stuck_at,
    )


def _torch(told: Mapping[str, Any]) -> Torch:
    return Torch(
        version=told["version"],
        cuda=_pair(str(told["cuda"]).split(".")) if told["cuda"] else None,
        available=told["available"],
        trouble=told["trouble"],
        name=told.get("name", ""),
        capability=_pair(told.get("capability", ())),
        architectures=tuple(told.get("architectures", ())),
        computes=told.get("computes", False),
    )


def _pair(parts: Sequence[object]) -> tuple[int, int] | None:
    try:
        return int(str(parts[0])), int(str(parts[1]))
    except (IndexError, ValueError):
        return None
