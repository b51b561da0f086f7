"""`wan22lora presets list|show`"""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="What a run.yaml can start from.", no_args_is_help=True)


@app.command("list")
def list_presets() -> None:
    """One line for each preset."""
    from wan22lora.spec.presets import preset_names, read_preset

    names = preset_names()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:{width}}  {read_preset(name)[0].summary}")


@app.command("show")
def show_preset(name: Annotated[str, typer.Argument(help="A preset of `presets list`.")]) -> None:
    """A preset's file, and what it comes to.

    That is together with the presets that it starts from.
    """
    from wan22lora.spec.presets import preset_path, read_preset
    from wan22lora.spec.template import settled_preset

    preset, _ = read_preset(name)
    typer.echo(preset_path(name).read_text(encoding="utf-8").rstrip())
    if preset.preset:
        typer.echo(f"\n# Together with {preset.preset}:")
        typer.echo(settled_preset(name))
