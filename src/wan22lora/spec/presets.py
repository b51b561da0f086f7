"""The presets and hardware files that come with the package (`presets/` in the repository)."""

from __future__ import annotations

import difflib
from pathlib import Path

from wan22lora.errors import Finding, SpecError
from wan22lora.spec.document import Document, read_document
from wan22lora.spec.layers import Layer
from wan22lora.spec.model import HardwareFile, PresetFile
from wan22lora.spec.validate import check

CONTEXT_GIB = 0.8
"""What a CUDA process holds beside torch's own memory (docs/benchmarks.md)."""


def presets_folder() -> Path:
    """Inside the installed package, or at the top of a source checkout."""
    installed = Path(__file__).parents[1] / "presets"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "presets"


def preset_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in presets_folder().glob("*.yaml")))


def preset_path(name: str) -> Path:
    return presets_folder() / f"{name}.yaml"


def read_preset(name: str) -> tuple[PresetFile, Document]:
    """One preset file by itself, without those it starts from. Raises SpecError when it does not exist."""
    if name not in preset_names():
        unknown = unknown_preset("", name)
        raise SpecError(unknown.message, fix=unknown.fix)
    document = read_document(preset_path(name), shown_as=f"presets/{name}.yaml")
    preset, findings = check(document, PresetFile)
    if preset is None:
        raise SpecError(f"the preset `{name}` is not valid", findings=findings)
    return preset, document


def preset_layers(name: str) -> tuple[Layer, ...]:
    """The preset and those it starts from, the one that is laid first at the front."""
    layers: list[Layer] = []
    seen: list[str] = []
    current: str | None = name
    while current is not None:
        if current in seen:
            raise SpecError(f"the presets {' → '.join([*seen, current])} start from each other")
        seen.append(current)
        preset, document = read_preset(current)
        layers.append(Layer(document, "preset", reproduces=preset.reproduces))
        current = preset.preset
    return tuple(reversed(layers))


def read_hardware(name: str) -> tuple[HardwareFile, Document]:
    """One hardware class."""
    path = presets_folder() / "hardware" / f"{name}.yaml"
    document = read_document(path, shown_as=f"presets/hardware/{name}.yaml")
    hardware, findings = check(document, HardwareFile)
    if hardware is None:
        raise SpecError(f"the hardware file `{name}` is not valid", findings=findings)
    return hardware, document


def hardware_for(free_gib: float) -> str | None:
    """The largest class that a GPU with so much free memory reaches; None for one smaller than all."""
    classes = [(read_hardware(path.stem)[0].gpu_memory_gib, path.stem) for path in _hardware_paths()]
    fitting = [(memory, name) for memory, name in classes if memory <= free_gib]
    return max(fitting)[1] if fitting else None


def _hardware_paths() -> list[Path]:
    return sorted((presets_folder() / "hardware").glob("*.yaml"))


def unknown_preset(where: str, name: str) -> Finding:
    """The finding for a run.yaml that names a preset that does not exist."""
    close = difflib.get_close_matches(name, preset_names(), n=1)
    hint = f"did you mean `{close[0]}`? " if close else ""
    return Finding(where, f"there is no preset `{name}`", f"{hint}presets: {', '.join(preset_names())}")
