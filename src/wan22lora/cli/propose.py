"""Changes of captions on the screen, and the question before they are made."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

    from wan22lora.captions.journal import Change
    from wan22lora.captions.place import Place
    from wan22lora.captions.writing import Outcome
    from wan22lora.errors import Finding

_MARK = re.compile(r"^ *(?:[-+] )?")
"""What stands before the text of a line; what is wrapped stays under the text."""


def propose(
    changes: Sequence[Change],
    place: Place,
    *,
    yes: bool,
    dry_run: bool = False,
    every: bool = False,
) -> bool:
    """Show the changes, ask, make them. True when they were made or there were none.

    Raises SpecError where nobody can be asked.
    """
    from wan22lora.captions.changes import carry_out
    from wan22lora.captions.show import changes_as_text, in_short
    from wan22lora.captions.texts import emptied
    from wan22lora.captions.watching import counting
    from wan22lora.dataset.problems import listed
    from wan22lora.errors import SpecError

    if not changes:
        typer.echo("Nothing to change.")
        return True
    show(changes_as_text(changes, place.name_of, every=every))
    typer.echo(in_short(changes))
    if empty := emptied(changes):
        _warn(f"without words then: {listed(empty)}")
    if links := [place.name_of(change.file) for change in changes if change.file.is_symlink()]:
        _warn(f"links; the files that they lead to are changed: {listed(links)}")
    say_given_up(change.file.parent for change in changes)
    if dry_run:
        typer.echo("Nothing was written (--dry-run).")
        return False
    if not yes and not sys.stdin.isatty():
        raise SpecError("Nothing was written: there is nobody to ask.", fix=f"{typed()} --yes")
    if not yes and not typer.confirm("Write this?"):
        typer.echo("Nothing was written.")
        return False
    with stop_explained(), counting(len(changes)) as tell:
        left = carry_out(changes, typed(), tell)
    typer.echo(f"Written. `{undo_command(place.typed)}` takes it back.")
    say_left(left)
    return True


@contextmanager
def stop_explained() -> Iterator[None]:
    """For the writing of captions: Ctrl-C in it leaves a change half made."""
    from wan22lora.errors import Interrupted

    try:
        yield
    except KeyboardInterrupt:
        text = "stopped; the next `wan22lora captions` command in the folder completes what was begun"
        raise Interrupted(text) from None


def say_given_up(folders: Iterable[Path]) -> None:
    """What had been taken back, and cannot be made again after another change."""
    from wan22lora.captions.history import step_forward

    step = step_forward(folders)
    if step is not None:
        _warn(f"`captions redo` cannot make `{step.what}` again after this")


def say_left(files: Sequence[Path]) -> None:
    """Captions that somebody else wrote while a command did."""
    from wan22lora.dataset.problems import listed

    if files:
        _warn(f"edited in that moment and left as they are: {listed([file.name for file in files])}")


def _warn(text: str) -> None:
    from wan22lora.cli.screen import fitted, say

    say(fitted(f"warning: {text}"), err=True)


def show(lines: Iterable[Text]) -> None:
    """Print styled lines, wrapped at the terminal's width; 80 columns and no colour for files and pipes."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 80)
    for line in lines:
        indent = len(line) - len(_MARK.sub("", line.plain))
        for number, part in enumerate(line[indent:].wrap(console, max(20, console.width - indent))):
            part.rstrip()
            console.print(line[:indent] if number == 0 else " " * indent, part, sep="", soft_wrap=True)


def show_first(name: str, outcome: Outcome) -> None:
    """The first caption of a model in full, or why there is none."""
    from rich.text import Text

    from wan22lora.captions.show import readable

    for caption in outcome.captions.values():
        show([Text(readable(name), style="bold"), Text(f"  + {readable(' '.join(caption.split()))}", style="green")])
    say_all(outcome.findings)


def say_all(notes: Iterable[Finding]) -> None:
    """Warnings, before what they are about."""
    from wan22lora.cli.screen import fitted, say

    for finding in notes:
        say(fitted(f"{finding.level}: {finding}"), err=True)


def completed(what: Iterable[str]) -> None:
    """What `settle` says."""
    from wan22lora.cli.screen import fitted, say

    for line in what:
        say(fitted(line), err=True)


def undo_command(what: str) -> str:
    """What takes the change back."""
    import shlex

    return shlex.join(["wan22lora", "captions", "undo", what])


def typed() -> str:
    """The command line, for the record and for typing it again."""
    import shlex

    return shlex.join(["wan22lora", *sys.argv[1:]])
