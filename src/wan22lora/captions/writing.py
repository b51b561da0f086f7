"""Captions by a model: one question for each picture or clip, answers kept as they arrive, what is none told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wan22lora.captions.answer import cleaned, problem_with
from wan22lora.captions.editing import with_opening
from wan22lora.captions.endpoint import Endpoint, Trouble
from wan22lora.captions.instruction import CaptionKind, for_one
from wan22lora.captions.kept import keep, kept_in, key_of
from wan22lora.captions.place import Medium, Place
from wan22lora.captions.seen import FRAMES, data_urls
from wan22lora.dataset.pictures import UnreadableError
from wan22lora.errors import Finding, MachineError
from wan22lora.files import written

_MOST_TROUBLES = 3
"""In a row; then the endpoint is at fault, not a picture."""


@dataclass(frozen=True)
class Wish:
    """What is asked of the model."""

    kind: CaptionKind
    trigger: str | None = None
    style_tag: str | None = None

    def instruction(self, medium: Medium) -> str:
        frames = FRAMES if medium.kind == "videos" else None
        return for_one(self.kind, self.trigger, self.style_tag, frames=frames)

    def completed(self, caption: str) -> str:
        """With the opening words, which models forget now and then."""
        if not (self.trigger or self.style_tag):
            return caption
        return with_opening(self.trigger, self.style_tag)(caption)


@dataclass(frozen=True)
class Question:
    """A picture or clip to be captioned; `key` names its answer among those that are kept."""

    medium: Medium
    key: str


@dataclass
class Outcome:
    """What has been answered so far, and what could not be."""

    captions: dict[Path, str] = field(default_factory=dict)
    """By caption file."""
    findings: list[Finding] = field(default_factory=list)
    tokens_in: int = 0
    tokens_out: int = 0


class Reporter(Protocol):
    """Hears how the writing goes."""

    def answered(self, name: str, caption: str) -> None:
        """One more caption."""

    def failed(self, name: str, why: str) -> None:
        """One that there will be no caption of for now."""


def questions(place: Place, media: Sequence[Medium], model: str, wish: Wish) -> tuple[list[Question], Outcome]:
    """What is still to be asked, and what earlier runs of the same command were answered already."""
    kept = kept_in(place.folders)
    asked, outcome = [], Outcome()
    for medium in media:
        try:
            key = key_of(medium, model, wish.instruction(medium))
        except OSError as problem:
            outcome.findings.append(_unreadable(place, medium, problem.strerror or str(problem)))
            continue
        if key in kept:
            outcome.captions[medium.caption] = kept[key]
        else:
            asked.append(Question(medium, key))
    return asked, outcome


def ask_all(
    place: Place, asked: Sequence[Question], endpoint: Endpoint, wish: Wish, outcome: Outcome, reporter: Reporter
) -> None:
    """Asks one after the other and adds to the outcome.

    Raises MachineError where no further answer is to be hoped for.
    """
    troubles = 0
    for question in asked:
        name = place.name_of(question.medium.path)
        try:
            caption = _ask(question, endpoint, wish, outcome)
        except UnreadableError as problem:
            outcome.findings.append(_unreadable(place, question.medium, str(problem)))
            reporter.failed(name, f"cannot be read ({problem})")
            continue
        except Trouble as trouble:
            troubles += 1
            if trouble.final or troubles == _MOST_TROUBLES or len(asked) == 1 == troubles:
                raise _stopped(name, trouble, troubles) from None
            outcome.findings.append(Finding(name, trouble.text, trouble.fix))
            reporter.failed(name, trouble.text)
            continue
        troubles = 0
        wrong = problem_with(caption)
        if wrong:
            shown = f": {_beginning(caption)}" if caption else ""
            outcome.findings.append(Finding(name, f"the answer {wrong}{shown}", _ANOTHER))
            reporter.failed(name, f"the answer {wrong}")
            continue
        caption = wish.completed(caption)
        outcome.captions[question.medium.caption] = caption
        with written(question.medium.caption.parent):
            keep(question.medium.caption.parent, question.key, caption)
        reporter.answered(name, caption)


_ANOTHER = "The same command asks again; another model may answer, or write this caption yourself."


def _ask(question: Question, endpoint: Endpoint, wish: Wish, outcome: Outcome) -> str:
    reply = endpoint.ask(wish.instruction(question.medium), data_urls(question.medium))
    outcome.tokens_in += reply.tokens_in
    outcome.tokens_out += reply.tokens_out
    return cleaned(reply.text)


def _stopped(name: str, trouble: Trouble, troubles: int) -> MachineError:
    row = f" ({troubles} in a row)" if troubles > 1 else ""
    finding = Finding(name, trouble.text, trouble.fix)
    kept = "Answers that arrived are kept; the same command goes on with the others."
    return MachineError(f"The endpoint does not answer as it should{row}. {kept}", findings=[finding])


def _unreadable(place: Place, medium: Medium, why: str) -> Finding:
    return Finding(place.name_of(medium.path), f"cannot be read ({why})", "Replace or remove it.")


def _beginning(text: str) -> str:
    flat = " ".join(text.split())
    return f"`{flat[:60]}…`" if len(flat) > 60 else f"`{flat}`"
