"""`wan22lora cache`"""

from __future__ import annotations

from typing import Annotated

import typer

from wan22lora.cli.choices import (
    DryRunOption,
    ForceOption,
    JsonOption,
    MusubiOption,
    RehearseOption,
    RunFileArgument,
    forced,
)


def cache(
    run_file: RunFileArgument,
    only_text: Annotated[bool, typer.Option("--only-text", help="Captions only; touches no latents.")] = False,
    only_latents: Annotated[bool, typer.Option("--only-latents", help="Pictures and clips only.")] = False,
    dry_run: DryRunOption = False,
    rehearse: RehearseOption = False,
    force: ForceOption = None,
    json: JsonOption = False,
    musubi: MusubiOption = None,
) -> None:
    """Encode what is new or changed, without training."""
    from wan22lora.cli.job import carry_out_or_show

    if only_text and only_latents:
        raise typer.BadParameter("give one of --only-text and --only-latents, or none")

    kept = {"cache-text"} if only_text else {"cache-latents"} if only_latents else {"cache-latents", "cache-text"}

    carry_out_or_show(
        run_file,
        musubi=musubi,
        rehearse=rehearse,
        force=forced(force),
        steps=lambda _: frozenset(kept),
        dry_run=dry_run,
        as_json=json,
    )
