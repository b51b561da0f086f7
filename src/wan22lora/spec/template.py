"""A first run.yaml for a person to edit: what they said, and everything the preset sets as comments."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from wan22lora.musubi.options import text as option_text
from wan22lora.spec.layers import Settings
from wan22lora.spec.model import DataSettings, TrainSettings
from wan22lora.spec.presets import preset_layers, read_preset

SCHEMA_FILE = ".wan22lora.schema.json"


def run_yaml(*, name: str, preset: str, source: str, clips: bool, trigger: str | None) -> str:
    """The text of a run.yaml. `source` is the folder of pictures, or of `clips`, as it should stand in the file."""
    summary = read_preset(preset)[0].summary
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        "#",
        "# wan22lora train run.yaml --rehearse   plays the whole run through: no GPU, no weights, nothing trained",
        "# wan22lora train run.yaml --dry-run    prints every command, with the number of steps",
        "# wan22lora train run.yaml              trains",
        "",
        f"name: {_scalar(name)}",
        f"preset: {preset}  # {summary}",
        f"{'videos' if clips else 'images'}: {_scalar(source)}",
    ]
    if trigger:
        lines.append(f"trigger: {_scalar(trigger)}{_use_of_trigger(preset)}")
    lines += [
        "",
        "# hardware: auto  # or 16gb, 24gb, 48gb, 80gb: memory settings only",
        "",
        "# What the preset sets. Take away the # before a key to change its value.",
        *_section("data", DataSettings, preset),
        *_section("train", TrainSettings, preset),
        "",
        "# What one expert does differently, for example:",
        "# experts:",
        "#   high: {learning_rate: 1e-4, epochs: 60}",
    ]
    return "\n".join(lines) + "\n"


def wants_clips(preset: str) -> bool:
    """True for presets that train on clips."""
    return "frames" in _settings("data", preset).values


def needs_trigger(preset: str) -> bool:
    """True for presets that preserve the class that the trigger belongs to."""
    return "preservation" in _settings("train", preset).values


def _use_of_trigger(preset: str) -> str:
    if not needs_trigger(preset):
        return ""
    kept = _settings("train", preset).values["preservation"]["class"]
    return f"  # must stand in every caption; what `{kept}` in its place gives is preserved"


def settled_preset(name: str) -> str:
    """What a preset comes to with those it starts from, as YAML."""
    top = Settings()
    for layer in preset_layers(name):
        top.lay(layer, ())
    whole: dict[str, Any] = {"task": top.values.get("task", "t2v-A14B")}
    for section in ("data", "train"):
        whole[section] = _settings(section, name).values
    return _yaml(whole)


def _settings(section: str, preset: str) -> Settings:
    settings = Settings()
    for layer in preset_layers(preset):
        settings.lay(layer, (section,))
    return settings


def _section(section: str, model: type[DataSettings] | type[TrainSettings], preset: str) -> Iterator[str]:
    values = _settings(section, preset).values
    if not values:
        return
    yield f"{section}:"
    width = max(len(f"{key}: {_scalar(value)}") for key, value in values.items())
    for key, value in values.items():
        described = " ".join((model.model_fields[key].description or "").split())
        shown = f"{key}: {_scalar(value)}"
        yield f"  # {shown:{width}}  # {_first_sentence(described)}"


def _first_sentence(text: str) -> str:
    first = text.split(". ")[0].split("; ")[0].split(" (musubi")[0]
    return first.rstrip(".")


def _scalar(value: Any) -> str:
    return option_text(value) if isinstance(value, float) else _yaml(value, flow=True)


class _Representer(SafeRepresenter):
    """Writes 3e-4 as people write it, not as 0.0003."""


_Representer.add_representer(
    float,
    lambda representer, value: representer.represent_scalar("tag:yaml.org,2002:float", option_text(value)),
)


def _yaml(value: Any, *, flow: bool = False) -> str:
    writer: Any = YAML(typ="safe", pure=True)
    writer.Representer = _Representer
    writer.default_flow_style = flow
    writer.sort_base_mapping_type_on_output = False
    writer.width = 10_000
    out = io.StringIO()
    writer.dump(value, out)
    return out.getvalue().removesuffix("\n...\n").rstrip("\n")


def relative_to(folder: Path, target: Path) -> str:
    """`target` as a run.yaml in `folder` should name it: relative when it lies below, absolute otherwise."""
    try:
        inside = target.resolve().relative_to(folder.resolve())
    except ValueError:
        return str(target.resolve())
    return f"./{inside.as_posix()}" if inside.parts else "."
