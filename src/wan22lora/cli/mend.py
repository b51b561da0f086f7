"""What `check --fix` says and asks before the check."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wan22lora.dataset.scan import Scan


def mend(what: Path, *, yes: bool, quiet: bool) -> None:
    """Show what would be mended, ask, and do it; `quiet` leaves standard output to the check.

    Raises SpecError where nobody can be asked.
    """
    from wan22lora.captions.changes import settle
    from wan22lora.cli.propose import say_given_up, typed
    from wan22lora.cli.screen import fitted, say
    from wan22lora.errors import SpecError
    from wan22lora.mending.carry_out import carry_out
    from wan22lora.mending.plan import in_words, mending_of

    tell = partial(say, err=quiet)
    scans = _scans(what)
    folders = [scan.source.directory for scan in scans if scan.source.directory is not None]
    completed = settle(folder for folder in folders if folder.is_dir())
    for line in completed:
        tell(fitted(line))
    mending = mending_of(_scans(what) if completed else scans)
    if not mending:
        tell("Nothing was found that --fix mends.\n")
        return
    for line in in_words(mending):
        tell(line)
    say_given_up(renaming.folder for renaming in mending.renamings)
    if not yes and not sys.stdin.isatty():
        raise SpecError("Nothing was changed: there is nobody to ask.", fix=f"{typed()} --yes")
    if not yes and not typer.confirm("Do this?", err=quiet):
        tell("Nothing was changed.\n")
        return
    for line in carry_out(mending, typed()):
        tell(line)
    tell("")


def _scans(what: Path) -> Sequence[Scan]:
    """Of a folder or a run.yaml, without its plan. Raises SpecError and DatasetError."""
    from wan22lora.check.examine import sources_in
    from wan22lora.dataset.scan import scan
    from wan22lora.plan.sources import sources
    from wan22lora.spec.load import load_spec

    found = sources_in(what.absolute()) if what.is_dir() else sources(load_spec(what))
    return [scan(source) for source in found]
