"""`wan22lora captions prompt|import|write|apply|find|replace|undo|redo`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wan22lora.captions.journal import State
    from wan22lora.captions.place import Place

app = typer.Typer(help="Captions: getting them written, taking them over, editing, undo.", no_args_is_help=True)

PlaceArgument = Annotated[
    Path, typer.Argument(metavar="DIR|RUN.YAML", help="The folder of pictures or clips, or a run with its folders.")
]
ExtensionOption = Annotated[
    str | None,
    typer.Option("--extension", metavar=".EXT", help="Of the caption files; otherwise run.yaml's, or .txt."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change; write nothing.")]
AllOption = Annotated[bool, typer.Option("--all", help="Show every file, not only the first 20.")]
RegexOption = Annotated[bool, typer.Option("--regex", help="The text is a regular expression (Python's).")]
IgnoreCaseOption = Annotated[bool, typer.Option("--ignore-case", "-i", help="Capital letters do not matter.")]
WordOption = Annotated[bool, typer.Option("--word", "-w", help="Whole words only.")]


KindOption = Annotated[
    str | None, typer.Option("--kind", metavar="style|character|person|concept", help="What the LoRA is for.")
]
TriggerOption = Annotated[
    str | None, typer.Option("--trigger", metavar="WORD", help="The word that calls the LoRA up; begins each caption.")
]
StyleTagOption = Annotated[
    str | None,
    typer.Option("--style-tag", metavar="TEXT", help="Words for the style, the same at the front of each caption."),
]


@app.command("prompt")
def prompt(
    kind: KindOption = None,
    trigger: TriggerOption = None,
    style_tag: StyleTagOption = None,
) -> None:
    """Print what to tell a chat along with the pictures.

    It asks for a zip of .txt files, which `captions import` takes over.
    """
    from wan22lora.captions.instruction import for_a_chat, kind_named

    typer.echo(for_a_chat(kind_named(kind), trigger, style_tag))


@app.command("import")
def import_answers(
    answers: Annotated[
        Path,
        typer.Argument(metavar="ANSWERS", help="The chat's zip, a folder of texts, or one text with all captions."),
    ],
    where: PlaceArgument,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="name|order", help="How to match; otherwise by name, by order where no name fits."
        ),
    ] = None,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="Leave captions that are there as they are.")
    ] = False,
    extension: ExtensionOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    every: AllOption = False,
) -> None:
    """Take over the captions that a chat returned.

    Shows first which goes where. Nothing is unpacked, and what is no caption (a refusal, a picture, a web page)
    is left out by name. Names that are only shifted, as chats often number them, are put right.
    """
    from wan22lora.captions.matching import how_named
    from wan22lora.captions.place import place_at
    from wan22lora.captions.show import SHOWN, readable
    from wan22lora.captions.taking_over import take_over
    from wan22lora.cli.propose import propose, say_all

    how = how_named(by)
    _settle(where, dry_run)
    place = place_at(where, extension)
    taken = take_over(answers, place, how, only_missing=only_missing)
    matching = taken.matching
    typer.echo(f"{len(matching.pairs)} captions matched by {matching.how}: {matching.why}.")
    if matching.renumbered:
        for medium, answer in matching.pairs[: None if every else SHOWN]:
            typer.echo(f"  {readable(answer.name)}  →  {readable(place.name_of(medium.caption))}")
        if len(matching.pairs) > SHOWN and not every:
            typer.echo(f"  … and {len(matching.pairs) - SHOWN} more (all with --all)")
    say_all([*place.notes, *taken.findings])
    propose(taken.changes, place, yes=yes, dry_run=dry_run, every=every)


@app.command("write")
def write(
    where: PlaceArgument,
    endpoint: Annotated[
        str, typer.Option("--endpoint", metavar="URL", help="An OpenAI-compatible one: http://localhost:11434/v1 …")
    ],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="A model there that can look at pictures.")],
    kind: KindOption = None,
    trigger: TriggerOption = None,
    style_tag: StyleTagOption = None,
    review: Annotated[
        Path | None,
        typer.Option("--review", metavar="FILE", help="Write all answers into FILE, to edit; no captions yet."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Caption anew what has a caption; shows a diff.")] = False,
    key_env: Annotated[
        str | None,
        typer.Option("--key-env", metavar="NAME", help="The environment variable with the key, not OPENAI_API_KEY."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="For one answer.")] = 120,
    retries: Annotated[int, typer.Option("--retries", metavar="N", min=0, max=20, help="After a failed try.")] = 4,
    at_once: Annotated[
        int, typer.Option("--at-once", metavar="N", min=1, max=64, help="Pictures or clips asked about at once.")
    ] = 4,
    extension: ExtensionOption = None,
    yes: YesOption = False,
) -> None:
    """Let a vision model write the captions that are missing.

    Any OpenAI-compatible endpoint does: Ollama, LM Studio, vLLM, or a paid one. The first caption is shown before the
    others are asked for. Answers are kept as they arrive, so a command that was stopped goes on. A refusal or nonsense
    is told and never becomes a caption. Pictures are sent at 1024 pixels at most, clips as four frames of 768.
    """
    from wan22lora.cli.captions_write import write_captions

    write_captions(
        where,
        endpoint=endpoint,
        model=model,
        kind=kind,
        trigger=trigger,
        style_tag=style_tag,
        review=review,
        again=again,
        key_env=key_env,
        timeout=timeout,
        retries=retries,
        at_once=at_once,
        extension=extension,
        yes=yes,
    )


@app.command("apply")
def apply(
    where: PlaceArgument,
    trigger: Annotated[
        str | None,
        typer.Option("--trigger", metavar="WORD", help="Put in front of captions that do not have it anywhere."),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", metavar="TEXT", help="Put in front, behind the trigger, where it is not there yet."),
    ] = None,
    extension: ExtensionOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    every: AllOption = False,
) -> None:
    """Put a trigger, a style tag or both in front.

    Only where they are missing. A run.yaml's own trigger is meant when neither is given. Doing it twice changes
    nothing the second time.
    """
    from wan22lora.captions.editing import with_opening
    from wan22lora.captions.place import place_at
    from wan22lora.captions.texts import edited
    from wan22lora.cli.propose import propose

    _settle(where, dry_run)
    place = place_at(where, extension)
    edit = with_opening(trigger if trigger or prefix else place.trigger, prefix)
    propose(edited(_told_texts(place), edit), place, yes=yes, dry_run=dry_run, every=every)


@app.command("find")
def find(
    where: PlaceArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for.")],
    regex: RegexOption = False,
    ignore_case: IgnoreCaseOption = False,
    word: WordOption = False,
    extension: ExtensionOption = None,
) -> None:
    """Show captions that have a text in them."""
    from wan22lora.captions.editing import pattern_for
    from wan22lora.captions.place import place_at
    from wan22lora.captions.show import match_as_text
    from wan22lora.cli.propose import show
    from wan22lora.dataset.problems import counted

    pattern = pattern_for(text, regex=regex, ignore_case=ignore_case, word=word)
    place = place_at(where, extension)
    texts = _told_texts(place)
    found = {file: caption for file, caption in texts.items() if pattern.search(caption)}
    for file, caption in found.items():
        show(match_as_text(place.name_of(file), caption, pattern))
    typer.echo(f"{len(found)} of {counted(len(texts), 'caption')}")


@app.command("replace")
def replace(
    where: PlaceArgument,
    text: Annotated[str, typer.Argument(metavar="FIND", help="What to look for.")],
    replacement: Annotated[str, typer.Argument(metavar="REPLACE", help="What to put there; '' to take it out.")],
    regex: RegexOption = False,
    ignore_case: IgnoreCaseOption = False,
    word: WordOption = False,
    extension: ExtensionOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    every: AllOption = False,
) -> None:
    """Replace a text in all captions.

    Shows first what would change.
    """
    from wan22lora.captions.editing import pattern_for, with_replacement
    from wan22lora.captions.place import place_at
    from wan22lora.captions.texts import edited
    from wan22lora.cli.propose import propose

    pattern = pattern_for(text, regex=regex, ignore_case=ignore_case, word=word)
    edit = with_replacement(pattern, replacement, regex=regex)
    _settle(where, dry_run)
    place = place_at(where, extension)
    propose(edited(_told_texts(place), edit), place, yes=yes, dry_run=dry_run, every=every)


@app.command("undo")
def undo(
    where: PlaceArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take back captions too that were edited since.")] = False,
    dry_run: DryRunOption = False,
    every: AllOption = False,
) -> None:
    """Take back the last change of captions.

    Whichever command made it; typed again, the one before. `captions redo` makes it once more. The last 100
    changes are kept, in a hidden folder beside the captions.
    """
    _turn(where, yes, dry_run, every, back=True)


@app.command("redo")
def redo(
    where: PlaceArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Overwrite captions too that were edited since.")] = False,
    dry_run: DryRunOption = False,
    every: AllOption = False,
) -> None:
    """Make again what undo took back."""
    _turn(where, yes, dry_run, every, back=False)


def _turn(where: Path, yes: bool, dry_run: bool, every: bool, *, back: bool) -> None:
    from wan22lora.captions.history import (
        BY_HAND,
        edited_since,
        make_again,
        refusal,
        step_back,
        step_forward,
        take_back,
        turned,
    )
    from wan22lora.captions.place import folders_named
    from wan22lora.captions.show import changes_as_text, in_short
    from wan22lora.captions.watching import counting
    from wan22lora.cli.propose import say_left, show, stop_explained, typed

    # What was interrupted on its way forward can be taken back as it is.
    _settle(where, dry_run, ("undoing",) if back else None)
    folders = folders_named(where)
    step = step_back(folders) if back else step_forward(folders)
    if step is None:
        typer.echo(f"There is nothing to {'take back' if back else 'make again'} in {where}.")
        return
    edited = edited_since(step)
    changes = turned(step, back=back)
    show(changes_as_text(changes, lambda file: file.name, every=every))
    what = "Edits by hand" if step.what == BY_HAND else f"`{step.what}`"
    typer.echo(f"{what} ({step.when[:16]} UTC), {in_short(changes)}")
    if edited and not yes:
        raise refusal(edited, f"{typed()} --yes", back=back)
    if dry_run:
        typer.echo("Nothing was written (--dry-run).")
        return
    with stop_explained(), counting(len(changes)) as tell:
        left = take_back(step, tell) if back else make_again(step, tell)
    typer.echo("Taken back." if back else "Made again.")
    if edited:
        again = "`captions redo`, typed twice, brings" if back else "`captions undo` brings"
        typer.echo(f"{again} back what had been edited or removed since.")
    say_left(left)


def _told_texts(place: Place) -> dict[Path, str]:
    """The captions there are; what cannot be read is said."""
    from wan22lora.captions.texts import texts_of
    from wan22lora.cli.propose import say_all

    texts, findings = texts_of(place)
    say_all([*place.notes, *findings])
    return texts


def _settle(where: Path, dry_run: bool, states: Sequence[State] | None = None) -> None:
    """Completes what a killed command left half done; `--dry-run` only looks."""
    from wan22lora.captions.changes import UNFINISHED, interrupted_in, settle
    from wan22lora.captions.place import folders_named
    from wan22lora.cli.propose import completed

    folders = folders_named(where)
    if not dry_run:
        completed(settle(folders, states or UNFINISHED))
        return
    for entry in interrupted_in(folders):
        completed([f"`{entry.what}` was interrupted in {entry.folder}; without --dry-run that is settled first."])
