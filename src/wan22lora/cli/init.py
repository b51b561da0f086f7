"""`wan22lora init`"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer


def init(
    preset: Annotated[
        str | None, typer.Option(metavar="PRESET", help="What to train; see `wan22lora presets list`.")
    ] = None,
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder of pictures and captions.")] = None,
    videos: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder of clips and captions.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The run's name, which its LoRA files carry.")
    ] = None,
    trigger: Annotated[str | None, typer.Option(metavar="WORD", help="The word that calls the LoRA up.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write.")] = Path("run.yaml"),
) -> None:
    """Write a commented run.yaml from a preset.

    Without options, at a terminal, it asks.
    """
    from wan22lora.errors import SpecError
    from wan22lora.spec.presets import preset_names
    from wan22lora.spec.template import needs_trigger

    if preset is None and name is None and images is None and videos is None:
        if not sys.stdin.isatty():
            raise SpecError("init needs to know what to train", fix=_EXAMPLE)
        preset, images, videos, name, trigger = _ask()
    missing = [flag for flag, value in (("--preset", preset), ("--name", name)) if value is None]
    if (images is None) == (videos is None):
        missing.append("one of --images and --videos")
    if missing or preset is None or name is None:
        raise SpecError(f"init needs {', '.join(missing)}", fix=_EXAMPLE)
    if not trigger and preset in preset_names() and needs_trigger(preset):
        text = f"the preset {preset} needs --trigger: the word that stands in every caption"
        raise SpecError(text, fix=f"{_EXAMPLE.replace('style', preset)} --trigger WORD")
    _write(preset, images or videos or Path(), name, trigger, output, clips=videos is not None)


_EXAMPLE = "wan22lora init --preset style --images ./pictures --name my-style"


def _write(preset: str, source: Path, name: str, trigger: str | None, output: Path, *, clips: bool) -> None:
    import json

    from wan22lora.errors import SpecError
    from wan22lora.files import write_text
    from wan22lora.spec.document import parse_document
    from wan22lora.spec.model import RunFile
    from wan22lora.spec.model import schema as run_schema
    from wan22lora.spec.template import SCHEMA_FILE, relative_to, run_yaml
    from wan22lora.spec.validate import check

    if output.exists():
        raise SpecError(f"{output} exists already and is left as it is", fix=f"{_EXAMPLE} -o other.yaml")
    text = run_yaml(name=name, preset=preset, source=relative_to(output.parent, source), clips=clips, trigger=trigger)
    _, findings = check(parse_document(text, file=output.name, folder=output.parent), RunFile)
    if findings:
        raise SpecError(f"{output} was not written", findings=findings)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output.parent / SCHEMA_FILE, json.dumps(run_schema(), indent=1))
        write_text(output, text)
    except OSError as error:
        raise SpecError(f"{output} cannot be written: {error.strerror}", fix="-o FILE names another place") from None
    if not source.is_dir():
        typer.echo(f"Note: {source} is not there yet.", err=True)
    typer.echo(f"{output} is written. Next: wan22lora train {shlex.quote(str(output))} --rehearse")


def _ask() -> tuple[str, Path | None, Path | None, str, str | None]:
    """Preset, folder of pictures or folder of clips, name, trigger."""
    from wan22lora.spec.model import NAME_PATTERN
    from wan22lora.spec.presets import preset_names, read_preset
    from wan22lora.spec.template import needs_trigger, wants_clips

    for known in preset_names():
        typer.echo(f"  {known:15} {read_preset(known)[0].summary}")
    preset = typer.prompt("Preset", default="style")
    while preset not in preset_names():
        preset = typer.prompt(f"There is no preset {preset}; preset", default="style")
    clips = wants_clips(preset)
    source = Path(typer.prompt(f"Folder of {'clips' if clips else 'pictures'}", default="./pictures")).expanduser()
    name = typer.prompt("Name of the run", default="my-lora")
    while not re.fullmatch(NAME_PATTERN, name):
        name = typer.prompt("Letters, digits and . _ + - only; name", default="my-lora")
    if needs_trigger(preset):
        trigger = typer.prompt("Trigger word, which stands in every caption")
    else:
        trigger = typer.prompt("Trigger word (empty for none)", default="", show_default=False)
    return preset, None if clips else source, source if clips else None, name, trigger or None
