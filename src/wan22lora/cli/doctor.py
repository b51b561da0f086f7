"""`wan22lora doctor`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wan22lora.cli.choices import MusubiOption
from wan22lora.cli.screen import coloured, width

_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


def doctor(
    run_file: Annotated[Path | None, typer.Argument(metavar="RUN.YAML", help="A run to check, too.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    musubi: MusubiOption = None,
) -> None:
    """Check whether this machine can train, and RUN.YAML with it.

    Each check is ok, a warning or a failure with what to type about it. Nothing is changed. The exit code is 4 when
    something must be put right.
    """
    from wan22lora.dataset.memory import kept_in
    from wan22lora.doctor.examine import examine
    from wan22lora.doctor.facts import gather
    from wan22lora.doctor.report import all_well, as_json, as_text
    from wan22lora.errors import MachineError
    from wan22lora.machine.settings import memory_folder

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            typer.echo(text, err=True)

    groups = examine(gather(run_file, musubi=musubi, tell=tell, memory=kept_in(memory_folder())))
    typer.echo(as_json(groups) if json else as_text(groups, width(), _coloured))
    if not all_well(groups):
        raise typer.Exit(MachineError.exit_code)


def _coloured(text: str, status: str) -> str:
    return coloured(text, _COLOURS[status], bold=status == "failure")
