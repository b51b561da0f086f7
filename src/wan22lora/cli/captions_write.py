"""`wan22lora captions write`"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wan22lora.captions.place import Place
    from wan22lora.captions.writing import Outcome


def write_captions(
    where: Path,
    *,
    endpoint: str,
    model: str,
    kind: str | None,
    trigger: str | None,
    style_tag: str | None,
    review: Path | None,
    again: bool,
    key_env: str | None,
    timeout: float,
    retries: int,
    at_once: int,
    extension: str | None,
    yes: bool,
) -> None:
    from wan22lora.captions.changes import settle
    from wan22lora.captions.endpoint import Endpoint, address, key_from
    from wan22lora.captions.instruction import kind_named
    from wan22lora.captions.pace import Pace
    from wan22lora.captions.place import folders_named, place_at
    from wan22lora.captions.texts import without_caption
    from wan22lora.captions.watching import Silent, watching
    from wan22lora.captions.writing import Asking, Wish, questions
    from wan22lora.cli.propose import completed, say_all, show_first, typed
    from wan22lora.dataset.problems import counted
    from wan22lora.errors import Interrupted, SpecError

    asked_at = Endpoint(address(endpoint), model, key=key_from(key_env), timeout=timeout)
    if not yes and not sys.stdin.isatty():
        raise SpecError("Nothing was asked: there is nobody to look at the first caption.", fix=f"{typed()} --yes")
    if review is not None and review.exists():
        fix = "Give another name with --review, or move it away."
        raise SpecError(f"{review} exists already and is left as it is.", fix=fix)
    completed(settle(folders_named(where)))
    place = place_at(where, extension)
    say_all(place.notes)
    wish = Wish(kind_named(kind or place.kind), trigger or place.trigger, style_tag)
    missing = frozenset(without_caption(place))
    media = [medium for medium in place.media if again or medium.caption in missing]
    if not media:
        typer.echo("Every picture and clip has a caption. (--again captions them anew)")
        return
    to_ask, outcome = questions(place, media, model, wish)
    have = len(place.media) - len(media)
    typer.echo(
        f"{counted(len(to_ask), 'caption')} to be written by {model} at {asked_at.url}"
        + (f"; {have} are there" if have else "")
        + (f"; {len(outcome.captions)} were answered before" if outcome.captions else "")
    )
    pace = Pace(at_once, retries)
    try:
        if to_ask and not yes and not outcome.captions:
            first, *to_ask = to_ask
            typer.echo("asking for the first one …", err=True)
            Asking(place, [first], asked_at, wish, outcome, Silent(), pace).go()
            show_first(place.name_of(first.medium.path), outcome)
            if to_ask and not typer.confirm(f"Go on with the other {len(to_ask)}?"):
                typer.echo("The answer is kept; nothing was written.")
                return
        with watching(len(to_ask), lambda line: typer.echo(line, err=True)) as reporter:
            Asking(place, to_ask, asked_at, wish, outcome, reporter, pace).go()
    except KeyboardInterrupt:
        text = f"stopped; {counted(len(outcome.captions), 'answer')} kept, nothing written"
        raise Interrupted(text, fix=f"{typed()}  (goes on)") from None
    _take(outcome, place, review, yes, frozenset() if again else missing)


def _take(outcome: Outcome, place: Place, review: Path | None, yes: bool, missing: frozenset[Path]) -> None:
    """`missing` are captions that were not there when the questions began."""
    from wan22lora.captions.caption_file import content_of
    from wan22lora.captions.changes import carry_out, changes_to
    from wan22lora.captions.kept import forget
    from wan22lora.captions.texts import as_caption, is_empty
    from wan22lora.captions.watching import counting
    from wan22lora.cli.propose import propose, say_all, say_given_up, say_left, stop_explained, typed, undo_command
    from wan22lora.dataset.problems import counted, listed
    from wan22lora.errors import DatasetError, Finding

    if outcome.tokens_out:
        typer.echo(f"The endpoint counted {outcome.tokens_in:,} tokens in and {outcome.tokens_out:,} out.")
    answers = {each.caption: outcome.captions[each.caption] for each in place.media if each.caption in outcome.captions}
    if answers and review is not None:
        _write_review(review, answers, place)
        if not outcome.findings:
            forget(place.folders)
    elif answers:
        meanwhile = [file for file in answers if file in missing and not is_empty(content_of(file))]
        if meanwhile:
            names = listed([place.name_of(file) for file in meanwhile])
            text = f"captioned by somebody else meanwhile and left as they are: {names}"
            say_all([Finding(place.typed, text, level="warning")])
        changes = changes_to({file: as_caption(text) for file, text in answers.items() if file not in meanwhile})
        if not yes and any(not is_empty(change.old) for change in changes):
            if not propose(changes, place, yes=False):
                typer.echo("The answers are kept.")
                return
        elif changes:
            say_given_up(place.folders)
            with stop_explained(), counting(len(changes)) as tell:
                left = carry_out(changes, typed(), tell)
            written = f"{counted(len(changes), 'caption')} written."
            typer.echo(f"{written} `{undo_command(place.typed)}` takes them back.")
            say_left(left)
        forget(place.folders)
    if outcome.findings:
        count = counted(len(outcome.findings), "caption")
        raise DatasetError(f"{count} could not be written:", findings=outcome.findings)


def _write_review(review: Path, captions: Mapping[Path, str], place: Place) -> None:
    from wan22lora.captions.together import as_one_text
    from wan22lora.dataset.problems import counted
    from wan22lora.files import write_text, written

    take_over = shlex.join(["wan22lora", "captions", "import", str(review), place.typed])
    remarks = ["Edit what stands below the names; leave the lines with ## as they are. Then type:", f"  {take_over}"]
    shown = {medium.caption: place.name_of(medium.path) for medium in place.media}
    text = as_one_text(((shown[file], text) for file, text in captions.items()), remarks)
    with written(review):
        write_text(review, text)
    typer.echo(f"{counted(len(captions), 'caption')} in {review}, to be looked through. Then: {take_over}")
