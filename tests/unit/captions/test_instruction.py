"""The instruction asks for what the articles ask for, and its examples keep to it."""

from __future__ import annotations

import re

import pytest

from wan22lora.captions.instruction import CAPTION_KINDS, CaptionKind, for_a_chat, for_one, kind_named, opening
from wan22lora.errors import SpecError

OPENINGS = [(None, None), ("zxq", None), (None, "cartoon screencap"), ("rm", "cartoon in rm artstyle"), ("zxq", "oil")]


def examples_in(text: str) -> list[str]:
    return [" ".join(match.split()) for match in re.findall(r"(?m)^\d\. (.+(?:\n   .+)*)", text)]


@pytest.mark.parametrize("kind", CAPTION_KINDS)
@pytest.mark.parametrize(("trigger", "tag"), OPENINGS)
def test_every_example_begins_as_every_caption_shall(kind: CaptionKind, trigger: str | None, tag: str | None) -> None:
    for text in (for_a_chat(kind, trigger, tag), for_one(kind, trigger, tag), for_one(kind, trigger, tag, frames=4)):
        examples = examples_in(text)
        assert len(examples) == 3
        begin = opening(trigger, tag)
        assert all(example.startswith(begin) for example in examples)
        assert not begin or f"exactly these words:\n    {begin}\n" in text


@pytest.mark.parametrize("kind", CAPTION_KINDS)
def test_a_chat_is_asked_for_files_in_a_zip_and_a_model_for_the_caption_alone(kind: CaptionKind) -> None:
    chat, one = for_a_chat(kind), for_one(kind)
    for word in ("zip", ".txt", "each"):
        assert word in chat
        assert word not in one.replace(".txt", "") or word == "each"
    assert "the caption alone" in one
    for word in ("objective", "framing", "background", "light"):
        assert word in chat
        assert word in one


def test_the_form_of_the_person_article_is_trigger_subject_scene() -> None:
    examples = examples_in(for_a_chat("person", "zxq-person"))
    assert all(example.startswith("zxq-person, a man with") for example in examples)


@pytest.mark.parametrize("kind", CAPTION_KINDS)
def test_it_fits_80_columns(kind: CaptionKind) -> None:
    text = for_a_chat(kind, "zxq", "a style") + "\n" + for_one(kind, "zxq", frames=4)
    assert max(map(len, text.splitlines())) <= 80


def test_a_kind_that_is_none_is_told_with_those_there_are() -> None:
    assert kind_named("style") == "style"
    for wrong in (None, "person ", "stile"):
        with pytest.raises(SpecError, match="character, person or concept"):
            kind_named(wrong)
