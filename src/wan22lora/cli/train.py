"""`wan22lora train`"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from wan22lora.cli.choices import (
    DryRunOption,
    ExtendOption,
    ForceOption,
    JsonOption,
    MusubiOption,
    RehearseOption,
    RestartOption,
    RunFileArgument,
    forced,
)


def train(
    run_file: RunFileArgument,
    dry_run: DryRunOption = False,
    rehearse: RehearseOption = False,
    only: Annotated[
        Literal["high", "low"] | None,
        typer.Option("--only", help="Train this expert alone (caches are made for both)."),
    ] = None,
    restart: RestartOption = False,
    extend: ExtendOption = False,
    force: ForceOption = None,
    json: JsonOption = False,
    musubi: MusubiOption = None,
) -> None:
    """Train the LoRAs that RUN.YAML describes.

    Pictures, clips and captions are encoded first, then the high-noise and the low-noise expert are trained. Steps
    whose inputs have not changed are skipped, and a training that was stopped goes on where it was.

    Ctrl-C saves a state and stops. So does a terminal or a connection that closes: over ssh start it in tmux, or with
    nohup.
    """
    if json and not dry_run:
        raise typer.BadParameter("is for --dry-run: it prints the plan", param_hint="--json")
    if restart and extend:
        raise typer.BadParameter("a training either begins anew or goes on", param_hint="--restart, --extend")
    again = forced(force)
    if extend and any(step.startswith("train") for step in again):
        raise typer.BadParameter("a training either runs again or goes on", param_hint="--force, --extend")

    def steps(experts: tuple[str, ...]) -> frozenset[str]:
        if only is None:
            return frozenset({"cache-latents", "cache-text", *experts})
        if f"train-{only}" not in experts:
            raise typer.BadParameter("this run has a single expert", param_hint="--only")
        return frozenset({"cache-latents", "cache-text", f"train-{only}"})

    from wan22lora.cli.job import Typed, carry_out_or_show

    typed = Typed(
        "train",
        run_file,
        musubi=musubi,
        rehearse=rehearse,
        force=again,
        restart=restart,
        extend=extend,
        chosen_by=("--only", only) if only else (),
    )
    carry_out_or_show(typed, steps=steps, dry_run=dry_run, as_json=json)
