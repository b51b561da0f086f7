"""Everything that the checks look at, gathered once. Gathering only reads: it starts git and musubi's Python, and
writes nothing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from wan22lora.dataset.memory import Memory
from wan22lora.doctor.check import Check, warning
from wan22lora.doctor.checkout import Checkout, git_version, read_checkout
from wan22lora.doctor.environment import Environment, ask_environment
from wan22lora.doctor.needs import modules_for
from wan22lora.doctor.run_facts import Run, read_run
from wan22lora.doctor.stored import Stored, stored_files
from wan22lora.doctor.tokenizer import Tokenizer, find_tokenizer, hugging_face_folder
from wan22lora.errors import Failure, Finding
from wan22lora.machine.gpus import usable_gpus
from wan22lora.machine.nvidia import Nvidia, least_free_gib, read_nvidia
from wan22lora.machine.ram import Ram, in_container, read_ram
from wan22lora.machine.settings import ENVIRONMENT_MARKER, Machine, data_folder, python_of, read_machine, settings_path
from wan22lora.machine.space import Space, size_of, space_at
from wan22lora.musubi.pins import DEFAULT, Pin

T = TypeVar("T")
ACCELERATE_CONFIGS = ("default_config.yaml", "default_config.yml", "default_config.json")


@dataclass(frozen=True)
class Facts:
    """A machine as it was found. The defaults stand for what could not be found out."""

    machine: Machine
    settings: Path
    """machine.yaml, which need not exist."""
    settings_problems: tuple[Finding, ...] = ()
    system: str = ""
    """Linux, Darwin or Windows."""
    container: bool = False
    python: tuple[int, int, int] = (0, 0, 0)
    """wan22lora's own."""
    git: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    nvidia: Nvidia = field(default_factory=Nvidia)
    ram: Ram | None = None
    shared_memory: Space | None = None
    models_space: Space | None = None
    run_space: Space | None = None
    musubi_space: Space | None = None
    accelerate_config: Path | None = None
    checkout: Checkout = field(default_factory=Checkout)
    environment: Environment = field(default_factory=Environment)
    made_by_setup: bool = False
    """The environment, which setup then may repair."""
    wanted: Mapping[str, str] = field(default_factory=dict)
    """Modules that the run asks for, and the settings that do."""
    tokenizer: Tokenizer | None = None
    stored: tuple[Stored, ...] = ()
    kernels: int = 0
    """Bytes of compiled kernels that are kept."""
    run: Run | None = None
    """None when doctor was called without one."""
    bugs: tuple[Check, ...] = ()
    """Questions that failed in a way nobody foresaw."""

    @property
    def pin(self) -> Pin:
        return self.run.spec.pin if self.run is not None and self.run.spec is not None else DEFAULT


def gather(
    run_file: Path | None = None,
    *,
    musubi: Path | None = None,
    root: Path = Path("/"),
    tell: Callable[[str], None] = lambda _: None,
    memory: Memory | None = None,
) -> Facts:
    """The facts of this machine; `tell` hears what takes long, and what `memory` knows of pictures is not read again.

    Raises nothing but KeyboardInterrupt.
    """
    asking = _Asking()
    nothing: tuple[Machine, tuple[Finding, ...]] = (_bare_machine(musubi), ())
    machine, settings_problems = asking.of("settings", lambda: _machine(musubi), nothing)
    nvidia = asking.of("driver", read_nvidia, Nvidia())
    run = None
    if run_file is not None:
        training = replace(machine, gpus=usable_gpus(machine.gpus, nvidia))
        free = least_free_gib(nvidia, training.gpus)
        run = asking.of("run", lambda: read_run(run_file, training, lambda: free, memory), Run(run_file))
    spec = run.spec if run is not None else None
    none: dict[str, str] = {}
    wanted = asking.of("packages", lambda: modules_for(spec) if spec else none, none)
    checkout = asking.of("musubi", lambda: read_checkout(machine.musubi), Checkout())
    if machine.python.exists():
        tell("asking musubi-tuner's Python what it can import …")
    return Facts(
        machine=machine,
        settings=settings_path(),
        settings_problems=settings_problems,
        system=platform.system(),
        container=asking.of("container", lambda: in_container(root), False),
        python=sys.version_info[:3],
        git=asking.of("git", git_version, None),
        variables=dict(os.environ),
        nvidia=nvidia,
        ram=asking.of("ram", lambda: read_ram(root), None),
        shared_memory=asking.of("shared-memory", lambda: _shared_memory(root), None),
        models_space=asking.of("disk", lambda: space_at(machine.models), None),
        musubi_space=asking.of("disk", lambda: space_at(machine.musubi), None),
        run_space=asking.of("disk", lambda: space_at(spec.folder) if spec else None, None),
        accelerate_config=asking.of("accelerate", _accelerate_config, None),
        checkout=checkout,
        environment=asking.of("packages", lambda: ask_environment(machine, tuple(wanted)), Environment()),
        made_by_setup=(machine.python.parent.parent / ENVIRONMENT_MARKER).is_file(),
        wanted=wanted,
        tokenizer=asking.of("tokenizer", lambda: find_tokenizer(machine.models, os.environ), None),
        stored=asking.of("weights", lambda: stored_files(machine.models, run), ()),
        kernels=asking.of("kernels", lambda: size_of(machine.kernels) if machine.kernels else 0, 0),
        run=run,
        bugs=tuple(asking.bugs),
    )


class _Asking:
    """Questions of which none can spoil the others."""

    def __init__(self) -> None:
        self.bugs: list[Check] = []

    def of(self, name: str, question: Callable[[], T], otherwise: T) -> T:
        try:
            return question()
        except Exception as error:
            self.bugs.append(bug(name, error))
            return otherwise


def bug(name: str, error: Exception) -> Check:
    """What is said of a question or check that failed by a mistake of this program."""
    text = error.summary if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
    return warning(name, f"could not be checked ({text}); if this is not the machine's fault, it is a bug in wan22lora")


def _machine(musubi: Path | None) -> tuple[Machine, tuple[Finding, ...]]:
    try:
        return read_machine(musubi), ()
    except Failure as failure:
        return _bare_machine(musubi), failure.findings or (Finding("", failure.summary, failure.fix),)


def _bare_machine(musubi: Path | None) -> Machine:
    """The machine as it would be without machine.yaml."""
    checkout = (musubi or data_folder() / "musubi-tuner").absolute()
    source = "--musubi" if musubi else "the default place"
    return Machine(checkout, source, python_of(checkout), data_folder() / "models")


def _shared_memory(root: Path) -> Space | None:
    return space_at(root / "dev" / "shm") if (root / "dev" / "shm").is_dir() else None


def _accelerate_config() -> Path | None:
    folder = hugging_face_folder(os.environ) / "accelerate"
    return next((folder / name for name in ACCELERATE_CONFIGS if (folder / name).is_file()), None)
