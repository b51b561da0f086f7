"""Writes docs/run-yaml.md, the reference of run.yaml, from the documentation of its fields.

python scripts/reference.py > docs/run-yaml.md
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from wan22lora.spec.extension import EmaSettings, PreservationSettings, StateSettings, ValidationSettings
from wan22lora.spec.model import (
    DatasetSettings,
    DataSettings,
    ExpertSettings,
    MemorySettings,
    ModelSettings,
    MusubiOptions,
    RunFile,
    TrainSettings,
)

INTRODUCTION = """\
# run.yaml

The reference below is made from the program's own descriptions (`python scripts/reference.py`); `wan22lora schema`
prints the same as a JSON schema for editors. Unknown keys are errors. Relative paths start at the file; `~` and
environment variables work. Numbers follow YAML 1.2, so `3e-4` is a number.

A run is the sum of its layers, each laid over the one before: defaults, the preset and those it starts from, the
hardware class, run.yaml. Within a file `experts.high` and `experts.low` win over `train`. A key set to `null` takes a
preset's value away. A mapping such as `optimizer_args` or `preservation` is one value: a layer that writes it replaces
the whole of it. Some keys only mean something together, so a file that changes the first also clears what earlier
layers said about the others: `epochs` and `steps`; `rank` and `alpha`; `optimizer` and its arguments; `lr_scheduler`
and everything that starts with it; `timestep_sampling` with shift, scale and shape; the two ways of saving checkpoints.

```yaml
name: my-style
preset: style
images: ./pictures
train:
  learning_rate: 2e-4     # both experts
experts:
  high: {epochs: 60}      # the high-noise expert alone
musubi:
  cache-text: {fp8_t5: true}   # an option of musubi's program that has no key of its own
```

A person, with what only the trainer extension can do:

```yaml
name: anna
preset: person
images: ./anna
trigger: ann4x            # in every caption
validation: {hold_out: 3}
train:
  preservation: {class: woman, every: 3}
  ema: {decay: 0.999}
```
"""

SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("At the top", RunFile),
    ("data", DataSettings),
    ("datasets[…]", DatasetSettings),
    ("models", ModelSettings),
    ("train", TrainSettings),
    ("train.preservation", PreservationSettings),
    ("train.ema", EmaSettings),
    ("train.states", StateSettings),
    ("validation", ValidationSettings),
    ("experts", ExpertSettings),
    ("musubi", MusubiOptions),
)
OF_THE_EXTENSION = (PreservationSettings, EmaSettings, StateSettings, ValidationSettings)
INHERITED: dict[type[BaseModel], type[BaseModel]] = {DatasetSettings: DataSettings}


def reference() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_sections()]) + "\n"


def _sections() -> Iterator[str]:
    for title, model in SECTIONS:
        yield f"## {title}\n"
        if model is DatasetSettings:
            yield "Every key of `data`, and one of:\n"
        if model is TrainSettings:
            memory = ", ".join(f"`{name}`" for name in MemorySettings.model_fields)
            yield f"A hardware class sets {memory} and nothing else.\n"
        if model in OF_THE_EXTENSION:
            yield "Not with `trainer: plain`, nor at the article's pin, where musubi's own program trains.\n"
        yield "| key | value | meaning |\n|---|---|---|"
        for name, field in model.model_fields.items():
            if model in INHERITED and name in INHERITED[model].model_fields:
                continue
            meaning = " ".join((field.description or "").split()).replace("|", "\\|")
            if field.is_required():
                meaning += " Must be given."
            yield f"| `{field.alias or name}` | {_kind(field.annotation)} | {meaning} |"
        yield ""


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin is Literal:
        return ", ".join(str(value) for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        parts = dict.fromkeys(_kind(part) for part in get_args(annotation) if part is not type(None))
        if "number" in parts:
            parts.pop("whole number", None)
        return " or ".join(parts)
    if origin is tuple:
        if Ellipsis in get_args(annotation):
            return f"list of {_kind(get_args(annotation)[0])}"
        return f"[{', '.join(_kind(part) for part in get_args(annotation))}]"
    if origin is list:
        return f"list of {_kind(get_args(annotation)[0])}"
    if origin is dict:
        return "names and values"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys, see below"
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}.get(annotation, "value")


if __name__ == "__main__":
    sys.stdout.write(reference())
