"""Taking weights that are on the machine already: a ComfyUI folder, any other folder, or one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wan22lora.errors import Finding, MachineError, SpecError, command
from wan22lora.files import written
from wan22lora.models.catalogue import ModelFile
from wan22lora.models.places import locate, target
from wan22lora.models.recognise import what_is_wrong, what_it_is
from wan22lora.musubi.weights import WeightsFacts, guess_from_name, inspect_weights
from wan22lora.spec.paths import similar

_ENDINGS = (".safetensors", ".pth", ".pt", ".gguf")
_KIND_FOLDERS = ("diffusion_models", "unet", "text_encoders", "clip", "vae")
_WAN_KINDS = ("wan-dit", "wan22-5b-dit", "wan-vae", "wan22-5b-vae", "umt5-encoder", "hf-umt5")


@dataclass(frozen=True)
class Inventory:
    """What a folder has of the files that were asked for."""

    folder: Path
    """The folder to record: the one given, or `models` inside it."""
    usable: tuple[tuple[ModelFile, Path], ...]
    missing: tuple[ModelFile, ...]
    wrong: tuple[Finding, ...]
    """Files under a name of the catalogue that are something else."""
    others: tuple[Finding, ...]
    """Wan's files that are not used: in a form that musubi does not read, or under a name that is not looked for."""


def inventory(folder: Path, files: tuple[ModelFile, ...]) -> Inventory:
    """Looks through a folder. Raises MachineError when there is none or it cannot be read."""
    if not folder.is_dir():
        near = similar(folder, *_ENDINGS)
        ways = [f"did you mean {near}?"] if near else []
        ways.append(f"{command('mkdir', '-p', folder)}  makes an empty one to fetch into")
        raise MachineError(f"{folder} does not exist.", fix="\n→ ".join(ways))
    if not _is_layout(folder) and _is_layout(folder / "models"):
        folder = folder / "models"  # ComfyUI's own folder was given
    usable: list[tuple[ModelFile, Path]] = []
    missing: list[ModelFile] = []
    wrong: list[Finding] = []
    seen: set[Path] = set()
    for file in files:
        path = locate(folder, file)
        if path is None:
            missing.append(file)
            continue
        seen.add(path)
        why = _why_not(file, path)
        if why:
            wrong.append(Finding(str(path), why, "remove or replace it, or name another with models: in run.yaml"))
        else:
            usable.append((file, path))
    others = tuple(_others(folder, files, seen))
    return Inventory(folder, tuple(usable), tuple(missing), tuple(wrong), others)


def take_file(path: Path, files: tuple[ModelFile, ...], models: Path) -> tuple[ModelFile, Path]:
    """Links one file into the folder of models under the name that is looked for; returns what it serves as.

    Raises MachineError when it cannot serve as any of `files`, SpecError when its name leaves open as which.
    """
    reasons = {file: _why_not(file, path) for file in files if file.role != "tokenizer"}
    fitting = [file for file, why in reasons.items() if not why]
    if not fitting:
        expert = guess_from_name(path).kind == "wan-dit" or _is_expert(path)
        told = [why for file, why in reasons.items() if (file.folder == "diffusion_models") == expert]
        told = told or list(reasons.values())
        raise MachineError(f"{path} was not taken.", findings=[Finding(path.name, why) for why in dict.fromkeys(told)])
    if len(fitting) > 1:
        fix = " or ".join(f"--as {file.name}" for file in fitting)
        raise SpecError(f"neither the name nor the header of {path.name} tells which model it is", fix=f"say {fix}")
    file = fitting[0]
    link = target(models, file)
    link = link.with_name(next((name for name in _names(file) if name.endswith(path.suffix)), link.name))
    _link(path, link)
    return file, link


def _is_expert(path: Path) -> bool:
    try:
        return inspect_weights(path).kind == "wan-dit"
    except OSError:
        return False


def _names(file: ModelFile) -> tuple[str, ...]:
    return (file.file_name, *file.other_names)


def _is_layout(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in _KIND_FOLDERS)


def _why_not(file: ModelFile, path: Path) -> str:
    try:
        return what_is_wrong(file, path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def _others(folder: Path, files: tuple[ModelFile, ...], seen: set[Path]) -> Iterator[Finding]:
    for path in _weight_files(folder):
        if path in seen:
            continue
        try:
            facts = inspect_weights(path)
        except OSError:
            continue
        fitting = [] if facts.kind == "torch-pickle" else [file for file in files if not _why_not(file, path)]
        fitting = [file for file in fitting if file.role != "tokenizer"]
        if fitting:
            names = " or ".join(file.name for file in fitting)
            use = command("wan22lora", "models", "use", path)
            yield Finding(str(path), f"could serve as {names}", use, level="warning")
        elif facts.kind in _WAN_KINDS or _is_wan_by_name(path):
            yield Finding(str(path), _what_speaks_against(facts), level="warning")


def _what_speaks_against(facts: WeightsFacts) -> str:
    if facts.fp8_scaled:
        return "is an fp8_scaled file, which musubi cannot train on in any mode"
    return what_it_is(facts)


def _is_wan_by_name(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(".gguf") and "wan" in name


def _weight_files(folder: Path) -> Iterator[Path]:
    """All of a plain folder, of ComfyUI's only the kinds that matter: its LoRAs alone may be hundreds."""
    roots = [folder / name for name in _KIND_FOLDERS if (folder / name).is_dir()] or [folder]
    for root in roots:
        for parent, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "hub")
            for name in sorted(names):
                if name.lower().endswith(_ENDINGS) and not name.startswith("."):
                    yield Path(parent) / name


def _link(path: Path, link: Path) -> None:
    if link.exists() and link.samefile(path):
        return
    if link.exists() and not link.is_symlink():
        raise MachineError(f"{link} is there already and is another file.", fix=f"remove it, then use {path} again")
    with written(link.parent):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(path)
        except (OSError, NotImplementedError):  # Windows allows it to few
            os.link(path, link)
