"""From a chat's answers to the changes that take them over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from wan22lora.captions.answer import Answer, cleaned, problem_with
from wan22lora.captions.archive import read_answers
from wan22lora.captions.caption_file import content_of
from wan22lora.captions.changes import changes_to
from wan22lora.captions.journal import Change
from wan22lora.captions.matching import How, Matching, match
from wan22lora.captions.place import Medium, Place
from wan22lora.captions.texts import as_caption, is_empty
from wan22lora.dataset.problems import counted, listed
from wan22lora.errors import DatasetError, Finding


@dataclass(frozen=True)
class TakingOver:
    """What was matched, what it changes, and what is to be said of the rest."""

    matching: Matching
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]


def take_over(path: Path, place: Place, how: How | None = None, *, only_missing: bool = False) -> TakingOver:
    """Reads the answers and finds what they change. Raises DatasetError where none can be taken over."""
    raw, findings = read_answers(path, expected=len(place.media))
    answers = [replace(answer, text=cleaned(answer.text)) for answer in raw]
    lacking = tuple(medium for medium in place.media if is_empty(content_of(medium.caption)))
    # What is no caption keeps its place among the others, so that none of them moves into it.
    matching, refused = _without_refused(match(place.media, answers, how, lacking=lacking))
    findings += [
        Finding(path.name, f"{answer.name} {problem}", _AGAIN, "warning") for answer, problem in refused[:_SHOWN]
    ]
    if len(refused) > _SHOWN:
        findings.append(Finding(path.name, f"{len(refused) - _SHOWN} more are no captions", _AGAIN, "warning"))
    if not matching.pairs:
        raise DatasetError(
            "No caption could be taken over.", findings=[*findings, _nothing_fits(path, place, matching)]
        )
    wanted = {medium.caption: as_caption(answer.text) for medium, answer in matching.pairs}
    if only_missing:
        missing = {medium.caption for medium in lacking}
        wanted = {file: content for file, content in wanted.items() if file in missing}
    changes = changes_to({file: content for file, content in wanted.items() if not _says_the_same(file, content)})
    return TakingOver(matching, changes, (*findings, *_left(path, place, matching, lacking)))


_SHOWN = 10
_AGAIN = "Ask for it again."


def _without_refused(matching: Matching) -> tuple[Matching, list[tuple[Answer, str]]]:
    found = [*(answer for _, answer in matching.pairs), *matching.left_answers]
    problems = [(answer, problem) for answer in found if (problem := problem_with(answer.text))]
    refused = {id(answer) for answer, _ in problems}
    return replace(
        matching,
        pairs=tuple(pair for pair in matching.pairs if id(pair[1]) not in refused),
        left_answers=tuple(answer for answer in matching.left_answers if id(answer) not in refused),
        left_media=(*matching.left_media, *(medium for medium, answer in matching.pairs if id(answer) in refused)),
    ), problems


def _says_the_same(file: Path, content: bytes) -> bool:
    """White space at the ends is no difference to the training."""
    there = content_of(file)
    return there is not None and there.strip() == content.strip()


def _left(path: Path, place: Place, matching: Matching, lacking: tuple[Medium, ...]) -> list[Finding]:
    findings = []
    if matching.doubtful:
        message = "some names fit and some do not, on both sides: the numbers may be shifted"
        fix = "Look whether two or three captions fit their pictures; `--by order` goes by the order instead."
        findings.append(Finding(path.name, message, fix, "warning"))
    if matching.left_answers:
        names = listed([answer.name for answer in matching.left_answers])
        message = f"{counted(len(matching.left_answers), 'answer')} without a picture or clip of the name: {names}"
        findings.append(Finding(path.name, message, "Rename them there, or leave them.", "warning"))
    missing = {medium.caption for medium in lacking}
    without = [medium.path for medium in matching.left_media if medium.caption in missing]
    if without:
        names = listed([place.name_of(file) for file in without])
        message = f"still without a caption: {names}"
        findings.append(Finding(place.typed, message, "Ask for these alone, and import once more.", "warning"))
    return findings


def _nothing_fits(path: Path, place: Place, matching: Matching) -> Finding:
    answers = matching.left_answers
    if not answers:
        return Finding(str(path), "no text in it is a caption", "Ask for .txt files, as `captions prompt` does.")
    if [answer.name for answer in answers] == [path.name]:
        message = "one text, in which nothing tells where a caption ends and which picture or clip it is for"
        return Finding(str(path), message, f"Put a line `## {place.media[0].path.name}` above each caption.")
    ours = listed([place.name_of(medium.path) for medium in place.media])
    message = (
        f"no name of the {counted(len(answers), 'answer')} ({listed([answer.name for answer in answers])})"
        f" is that of a picture or clip ({ours})"
    )
    return Finding(str(path), message, "Name the files alike, or add `--by order` to go by their order.")
