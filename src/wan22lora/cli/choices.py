"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

STEP_NAMES = ("cache-latents", "cache-text", "train-high", "train-low", "train")
FORCE_ALL = "all"

RunFileArgument = Annotated[Path, typer.Argument(metavar="RUN.YAML", help="The run to work on.")]
MusubiOption = Annotated[
    Path | None,
    typer.Option(
        "--musubi", metavar="DIR", help="musubi-tuner's checkout; otherwise WAN22LORA_MUSUBI or machine.yaml."
    ),
]
RehearseOption = Annotated[
    bool,
    typer.Option(
        "--rehearse",
        help="Play the run through with stand-ins for musubi: no GPU, no weights, nothing trained.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would run, as a shell script; write and start nothing.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="With --dry-run: print the plan as JSON.")]
ForceOption = Annotated[
    str | None,
    typer.Option("--force", metavar="[STEP]", help=f"Run a step again ({', '.join(STEP_NAMES)}), or all of them."),
]
RestartOption = Annotated[
    bool,
    typer.Option("--restart", help="Train anew from the first step; what is there of a training moves to previous/."),
]
ExtendOption = Annotated[
    bool,
    typer.Option("--extend", help="Go on with a training that is to have more epochs or steps than before."),
]


def may_be_a_step(word: str) -> bool:
    """Whether a word behind `--force` is a step, perhaps a misspelt one, and not an option or the run."""
    return word in STEP_NAMES or (word.replace("-", "").isalpha() and word[0] != "-" and not Path(word).exists())


def forced(force: str | None) -> frozenset[str]:
    """The steps that `--force` names. Raises a usage error for a step that does not exist."""
    if force is None:
        return frozenset()
    if force == FORCE_ALL:
        return frozenset(STEP_NAMES)
    if force not in STEP_NAMES:
        raise typer.BadParameter(f"{force} is no step; steps: {', '.join(STEP_NAMES)}", param_hint="--force")
    return frozenset({force})


def refuse_idle(force: frozenset[str], steps: frozenset[str]) -> None:
    """Raises a usage error for a step that is named and that the command, with these `steps`, would not run."""
    idle = force - steps
    if idle and force != frozenset(STEP_NAMES):
        here = ", ".join(name for name in STEP_NAMES if name in steps)
        raise typer.BadParameter(f"{', '.join(idle)} is no step of this command; steps: {here}", param_hint="--force")
