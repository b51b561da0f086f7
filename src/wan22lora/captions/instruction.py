"""What to tell whoever writes the captions: a chat, a model behind an endpoint, or a person.

What is asked for is the WAN 2.1 article's (objective and concrete, short sentences, the style first, a list of
aspects, three examples, one .txt for each picture, a zip) and the person article's form (trigger, description of the
subject, description of the scene).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from wan22lora.errors import SpecError

CaptionKind = Literal["style", "character", "person", "concept"]
CAPTION_KINDS: tuple[CaptionKind, ...] = get_args(CaptionKind)
_WIDTH = 78


@dataclass(frozen=True)
class _Subject:
    goal: str
    names: str
    """What the trigger stands for."""
    constant: str
    """How to write about what the LoRA is for."""
    aspects: tuple[str, ...]
    form: str
    examples: tuple[str, str, str]
    """What follows the opening."""


_SCENE = (
    "the framing: full body, close-up, seen from behind, from above, …",
    "the surroundings and what can be seen in the background",
    "the light and the time of day",
)

_SENTENCES = "Write short, plain sentences; two to five are enough."
_NO_STYLE_YET = "ink drawing with flat colours"
"""Begins the examples where nobody said how the style is called."""

_SUBJECTS: dict[CaptionKind, _Subject] = {
    "style": _Subject(
        goal="All pictures share one visual style. Different things are depicted in it.",
        names="the style",
        constant="After that, also name the traits by which the style is recognised, where they are visible: outlines,"
        " shading, colours, texture, proportions, how faces are simplified. Use the same words for the same trait in"
        " every caption.",
        aspects=(
            "who or what is shown: hair, eyes, skin, clothing; species, material, shape",
            "what they are doing, and their expression",
            *_SCENE,
        ),
        form=_SENTENCES,
        examples=(
            "a girl with short red hair and a green raincoat crosses a puddle on a cobbled street. thick black"
            " outlines, flat shading. grey houses stand behind her. full body, seen from the side.",
            "a brown dog sleeps on a striped rug in front of a fireplace. thick black outlines, muted colours. a chair"
            " stands on the left. warm light falls from the fire.",
            "an empty harbour at night. three small boats lie at a wooden pier. flat dark blue shading. two yellow"
            " lamps are reflected in the water. wide shot.",
        ),
    ),
    "character": _Subject(
        goal="All pictures show the same character, perhaps in different styles.",
        names="the character",
        constant="Describe the character's look with the same words in every caption. Say what is different from"
        " picture to picture: pose, expression, clothing, place.",
        aspects=(
            "the kind of picture: photo, 3d render, anime screencap, drawing, …",
            "the character's hair, eyes, skin or fur, and build",
            "clothing and what the character holds",
            "what the character is doing, and the expression",
            *_SCENE,
        ),
        form=_SENTENCES,
        examples=(
            "anime screencap. a young woman with long silver hair in a braid and green eyes. she wears a dark blue"
            " coat with brass buttons and holds a lantern. she looks over her shoulder. a snowy forest at dusk.",
            "cosplay photo. a young woman with long silver hair in a braid and green eyes. she sits on stone steps in a"
            " dark blue coat and laughs. full body. daylight, a park behind her.",
            "3d render. close-up of a young woman with long silver hair in a braid and green eyes. she frowns. plain"
            " grey background, light from the left.",
        ),
    ),
    "person": _Subject(
        goal="All pictures show the same person.",
        names="the person",
        constant="After that, describe the person, then the scene. Use the same words for what belongs to the person,"
        " such as hair and build, in every caption. Clothing, expression, place and light differ: say what they are,"
        " so that they are not taken for part of the person.",
        aspects=(
            "hair, eyes, skin, build, glasses, beard",
            "clothing and jewellery",
            "pose, expression and where the person looks",
            *_SCENE,
        ),
        form="Write one line of short parts with commas between them: first the person, then clothing, pose and"
        " expression, then the scene, the light and the framing.",
        examples=(
            "a man with short grey hair and a trimmed beard, wearing a white shirt with rolled-up sleeves, leaning on"
            " a kitchen counter, smiling at the camera, morning light from a window, half body shot",
            "a man with short grey hair and a trimmed beard, in a black winter jacket and a scarf, walking along a"
            " snowy road with his hands in his pockets, seen from the front, overcast day, full body shot",
            "a man with short grey hair and a trimmed beard, close-up of his face in profile, mouth closed, dark"
            " background, hard light from the right",
        ),
    ),
    "concept": _Subject(
        goal="All pictures or clips show the same thing, action or arrangement. Everything else differs.",
        names="what they have in common",
        constant="Describe what they have in common with the same words in every caption, and everything around it"
        " as it is in each.",
        aspects=(
            "the kind of picture: photo, drawing, film still, …",
            "the thing or action itself: its parts, material, colour, how it moves",
            "who takes part: hair, clothing, expression, what they do",
            *_SCENE,
        ),
        form=_SENTENCES,
        examples=(
            "photo. a paper lantern with a red tassel hangs from a branch. the lantern glows orange. wet leaves are"
            " around it. night, close-up.",
            "photo. a woman in a yellow raincoat lights a paper lantern with a red tassel. she kneels on a wooden"
            " floor. a dog watches from the left. evening light, full body.",
            "watercolour painting. two paper lanterns with red tassels float on a river. houses stand on the far bank."
            " blue dusk, wide shot.",
        ),
    ),
}


def kind_named(name: str | None) -> CaptionKind:
    """Raises SpecError for a name that is none."""
    for kind in CAPTION_KINDS:
        if kind == name:
            return kind
    said = "--kind is missing" if name is None else f"--kind cannot be {name}"
    what = "what the LoRA is for: style, character, person or concept"
    raise SpecError(f"{said}: it says {what}.", fix="--kind style")


def opening(trigger: str | None, style_tag: str | None) -> str:
    """The words that every caption begins with; empty when neither was given."""
    if trigger and style_tag:
        return style_tag if trigger in style_tag else f"{trigger}, {style_tag}"
    return trigger or style_tag or ""


def for_a_chat(kind: CaptionKind, trigger: str | None = None, style_tag: str | None = None) -> str:
    """The whole instruction, to be sent with the pictures."""
    return "\n".join(
        [
            _filled(
                "Look at each of the pictures that I uploaded, one by one, and write one caption for each. From the"
                " caption alone, somebody who cannot see must be able to imagine the picture."
            ),
            "",
            *_rules(kind, trigger, style_tag),
            "",
            "Three captions as an example of the form:",
            *_examples(kind, trigger, style_tag),
            "",
            _filled(
                "Put each caption into a text file of its own that has the name of its picture and ends in .txt: the"
                " caption of 07.png goes into 07.txt. Check at the end that every file has the number of its own"
                " picture, that none is missing, and that nothing but the caption is in a file. Give me all files in"
                " one zip archive."
            ),
        ]
    )


def for_one(
    kind: CaptionKind, trigger: str | None = None, style_tag: str | None = None, *, frames: int | None = None
) -> str:
    """For a model that sees one picture, or so many `frames` of one clip, and answers with the caption."""
    seen = (
        "Write a caption for this picture. From the caption alone, somebody who cannot see must be able to imagine it."
        if frames is None
        else f"These are {frames} frames of one short clip, in their order. Write one caption for the whole clip: what"
        " is to be seen, how it moves, and how the camera moves. Do not speak of frames or pictures. From the caption"
        " alone, somebody who cannot see must be able to imagine the clip."
    )
    return "\n".join(
        [
            _filled(seen),
            "",
            *_rules(kind, trigger, style_tag),
            "",
            "Three captions of other pictures as an example of the form:",
            *_examples(kind, trigger, style_tag),
            "",
            _filled("Answer with the caption alone: no introduction, no heading, no quotation marks."),
        ]
    )


def _rules(kind: CaptionKind, trigger: str | None, style_tag: str | None) -> Iterator[str]:
    subject = _SUBJECTS[kind]
    yield _filled(subject.goal)
    yield ""
    yield from _begin(kind, trigger, style_tag)
    yield from _point(subject.constant)
    yield from _point(
        f"{subject.form} Be objective and neutral: say what can be seen, with concrete words. No moods, no"
        " interpretation, no praise, no ornate language, nothing abstract, no guesses."
    )
    yield from _point("Call the same thing by the same word in all captions.")
    yield from _point("Leave out what is not to be learned, such as watermarks, borders and subtitles.")
    yield from _point("Worth describing, where they can be seen:")
    for aspect in subject.aspects:
        yield f"    - {aspect}"


def _begin(kind: CaptionKind, trigger: str | None, style_tag: str | None) -> Iterator[str]:
    begin = opening(trigger, style_tag)
    if begin:
        yield "- Begin every caption with exactly these words:"
        yield f"    {begin}"
        if trigger:
            yield from _point(
                f"`{trigger}` is the name of {_SUBJECTS[kind].names}. Use it as it is, do not explain it."
            )
    elif kind == "style":
        yield from _point("Begin every caption with the same few words, which name the style.")
    elif kind == "person":
        yield from _point("Begin every caption with the person.")
    else:
        yield from _point("Begin every caption with the kind of picture: photo, artwork, anime screencap, …")


def _examples(kind: CaptionKind, trigger: str | None, style_tag: str | None) -> Iterator[str]:
    subject = _SUBJECTS[kind]
    begin = opening(trigger, style_tag) or (_NO_STYLE_YET if kind == "style" else "")
    for number, text in enumerate(subject.examples, 1):
        joint = ", " if kind == "person" else ". "
        example = f"{begin.rstrip('.,;: ')}{joint}{text}" if begin else text
        yield textwrap.fill(f"{number}. {example}", _WIDTH, subsequent_indent="   ", break_on_hyphens=False)


def _point(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _filled(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
