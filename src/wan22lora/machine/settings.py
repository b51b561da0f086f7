"""What this machine offers: musubi's checkout and Python, the folder of weights, the GPU.

Kept in machine.yaml in the user's configuration folder; the command line and the environment come before it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wan22lora.errors import Finding, SpecError
from wan22lora.files import write_text, written
from wan22lora.spec.paths import ImpossiblePathError, UnknownVariableError, path_from, resolve_path

SETTINGS_VARIABLE = "WAN22LORA_MACHINE"
MUSUBI_VARIABLE = "WAN22LORA_MUSUBI"
PYTHON_VARIABLE = "WAN22LORA_MUSUBI_PYTHON"
TOKENIZER_FOLDER = "models--Wan-AI--Wan2.1-T2V-14B"
ENVIRONMENT_MARKER = ".wan22lora.json"
"""Inside a Python environment that setup makes: what it is to hold, and whether it is finished."""
MOST_CPU_THREADS = 16
"""More was not measured."""
KEYS = ("musubi", "musubi_python", "models")


@dataclass(frozen=True)
class Machine:
    """Where things are on this machine; the paths need not exist."""

    musubi: Path
    """The checkout of musubi-tuner."""
    musubi_from: str
    """Who said so, for messages."""
    python: Path
    """The Python of musubi's own environment."""
    models: Path
    """The folder of weights."""
    hub: Path | None = None
    """A Hugging Face cache beside the weights that holds T5's tokenizer; None where there is none."""
    cpu_threads: int = 1
    """CPU threads that a training may use."""
    kernels: Path | None = None
    """Where compiled kernels are kept from one training to the next; None leaves that to torch."""
    known_runs: Path | None = None
    """Where the run folders of this machine are noted (machine/known_runs.py)."""
    gpu: str = "0"
    """The value of CUDA_VISIBLE_DEVICES for a training: one GPU, since several would silently become data parallel."""
    gpus: tuple[str, ...] = ()
    """All that CUDA_VISIBLE_DEVICES names here; empty where nobody has set it."""


def settings_path() -> Path:
    if SETTINGS_VARIABLE in os.environ:
        return Path(os.environ[SETTINGS_VARIABLE])
    import platformdirs

    return platformdirs.user_config_path("wan22lora", appauthor=False) / "machine.yaml"


def data_folder() -> Path:
    """Where musubi-tuner and weights are when nobody says otherwise."""
    import platformdirs

    return platformdirs.user_data_path("wan22lora", appauthor=False)


def memory_folder() -> Path:
    """Where it is kept what pictures and clips were seen to be. May be deleted at any time."""
    import platformdirs

    return platformdirs.user_cache_path("wan22lora", appauthor=False) / "seen"


def kernels_folder() -> Path:
    """Compiled kernels, of which each belongs to a torch, a GPU and a shape; what is missing is compiled again."""
    import platformdirs

    return platformdirs.user_cache_path("wan22lora", appauthor=False) / "kernels"


def read_machine(musubi: Path | None = None) -> Machine:
    """The machine as the command line (`--musubi`), the environment and machine.yaml describe it, in that order.

    Raises SpecError for a path that cannot be, wherever it was named.
    """
    settings = read_settings(settings_path())
    if musubi is not None:
        checkout, source = path_from(musubi, "--musubi"), "--musubi"
    elif os.environ.get(MUSUBI_VARIABLE):
        checkout, source = path_from(Path(os.environ[MUSUBI_VARIABLE]), MUSUBI_VARIABLE), MUSUBI_VARIABLE
    elif "musubi" in settings:
        checkout, source = settings["musubi"], str(settings_path())
    else:
        checkout, source = data_folder() / "musubi-tuner", "the default place"
    if os.environ.get(PYTHON_VARIABLE):
        python = path_from(Path(os.environ[PYTHON_VARIABLE]), PYTHON_VARIABLE)
    elif "musubi_python" in settings and _belongs(checkout, settings, named=musubi is not None):
        python = settings["musubi_python"]
    else:
        python = python_of(checkout)
    named = tuple(each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip())
    models = settings.get("models", data_folder() / "models")
    return Machine(
        musubi=checkout,
        musubi_from=source,
        python=python,
        models=models,
        hub=models / "hub" if (models / "hub" / TOKENIZER_FOLDER / "refs" / "main").is_file() else None,
        cpu_threads=min(cpu_cores(), MOST_CPU_THREADS),
        kernels=kernels_folder(),
        known_runs=settings_path().with_name("known-runs"),
        gpu=named[0] if named else "0",
        gpus=named,
    )


def _belongs(checkout: Path, settings: Mapping[str, Path], *, named: bool) -> bool:
    """Whether the recorded Python is that of the checkout: one `named` on the command line brings its own, unless it is
    the recorded one."""
    return settings.get("musubi") == checkout or ("musubi" not in settings and not named)


def cpu_cores() -> int:
    """CPU cores that programs started here may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def python_of(checkout: Path) -> Path:
    """The Python inside the checkout's environment: `.venv` as uv makes it, or `venv` as the article does."""
    inside = Path("Scripts/python.exe") if sys.platform == "win32" else Path("bin/python")
    for folder in (".venv", "venv"):
        if (checkout / folder / inside).exists():
            return checkout / folder / inside
    return checkout / ".venv" / inside


def write_machine(**changes: Path) -> Path:
    """Sets keys of machine.yaml and returns its path; other keys and comments stay.

    Raises SpecError when the file that is there cannot be used, MachineError when the disk refuses.
    """
    import io

    from ruamel.yaml import YAML

    unknown = set(changes) - set(KEYS)
    if unknown:
        raise ValueError(f"machine.yaml has no {', '.join(sorted(unknown))}")
    path = settings_path()
    read_settings(path)  # says what is wrong with it, line by line
    text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    yaml = YAML(typ="rt")
    yaml.width = 4096  # paths may have spaces, and stay on their line
    document = yaml.load(text)
    comments = text.rstrip("\n") + "\n" if document is None and text.strip() else ""  # ruamel would drop them
    document = {} if document is None else document
    document.update({key: str(value) for key, value in changes.items()})
    out = io.StringIO()
    yaml.dump(document, out)
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, comments + out.getvalue())
    return path


def read_settings(path: Path) -> dict[str, Path]:
    """What machine.yaml says; empty where there is none. Raises SpecError with everything that is wrong with it."""
    if not path.is_file():
        return {}
    from wan22lora.spec.document import read_document

    document = read_document(path, shown_as=str(path))
    findings: list[Finding] = []
    settings: dict[str, Path] = {}
    for key, value in document.data.items():
        where = f"{document.place((key,))} {key}"
        if key not in KEYS:
            findings.append(Finding(where, "there is no such key", f"keys: {', '.join(KEYS)}"))
        elif not isinstance(value, str):
            findings.append(Finding(where, "must be a path"))
        else:
            try:
                settings[key] = resolve_path(value, document.folder)
            except UnknownVariableError as unknown:
                findings.append(Finding(where, f"the environment variable {unknown} is not set"))
            except ImpossiblePathError as impossible:
                findings.append(Finding(where, str(impossible)))
    if findings:
        raise SpecError(f"{path} cannot be used", findings=findings)
    return settings
