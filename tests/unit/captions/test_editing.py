"""Trigger and prefix are put in front once; what is found is what is replaced."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from wan22lora.captions.editing import pattern_for, with_opening, with_replacement
from wan22lora.errors import SpecError

PIECES = st.lists(st.sampled_from(["zxq", "photo", " ", ",", ", ", ".", "\n", "a", "\ufeff", "é"]), max_size=6)
WORDS = PIECES.map("".join)


@pytest.mark.parametrize(
    ("text", "trigger", "prefix", "expected"),
    [
        ("a cat", "zxq", None, "zxq, a cat"),
        ("Zxq, a cat", "zxq", None, "zxq, a cat"),
        ("ZXQ. A cat.", "zxq", "photo", "zxq, photo, A cat."),
        ("Zxqs are cats", "zxq", None, "zxq, Zxqs are cats"),
        ("a cat", None, "photo.", "photo. a cat"),
        ("a cat", "zxq", "photo of", "zxq, photo of, a cat"),
        ("zxq, a cat", "zxq", "photo", "zxq, photo, a cat"),
        ("zxq a cat", "zxq", "photo", "zxq, photo, a cat"),
        ("photo, a cat", "zxq", "photo", "zxq, photo, a cat"),
        ("zxqs, a cat", "zxq", "photo", "photo, zxqs, a cat"),
        ("a cat called zxq", "zxq", None, "a cat called zxq"),
        ("\ufeffa cat\n", "zxq", None, "zxq, a cat\n"),
        ("a cat", "rm", "cartoon in rm artstyle.", "cartoon in rm artstyle. a cat"),
        ("", "zxq", None, "zxq"),
        ("\n", "zxq", "photo", "zxq, photo"),
    ],
)
def test_what_is_missing_comes_in_front(text: str, trigger: str | None, prefix: str | None, expected: str) -> None:
    assert with_opening(trigger, prefix)(text) == expected


@given(st.text(max_size=30) | WORDS, st.none() | WORDS | st.text(max_size=8), st.none() | WORDS | st.text(max_size=8))
@example("zxq", "zxq", "zxq")
def test_a_second_time_changes_nothing(text: str, trigger: str | None, prefix: str | None) -> None:
    bare = [re.sub(r"^[\s,\ufeff]+|[\s,\ufeff]+$", "", words or "") for words in (trigger, prefix)]
    assume(any(bare))
    edit = with_opening(trigger, prefix)
    once = edit(text)
    assert edit(once) == once
    assert all(words in once for words in bare)


@pytest.mark.parametrize("words", [(None, None), ("", " "), (" ", ", ")])
def test_nothing_to_put_in_front_is_an_error(words: tuple[str | None, str | None]) -> None:
    with pytest.raises(SpecError):
        with_opening(*words)


@given(st.text(max_size=30), st.text(min_size=1, max_size=3), st.text(max_size=3))
def test_text_is_replaced_as_it_stands(text: str, find: str, replacement: str) -> None:
    assert with_replacement(pattern_for(find), replacement)(text) == text.replace(find, replacement)


@pytest.mark.parametrize(
    ("text", "find", "replacement", "options", "expected"),
    [
        ("cat category cat", "cat", "dog", {"word": True}, "dog category dog"),
        ("Cat CAT", "cat", "dog", {"ignore_case": True}, "dog dog"),
        ("a.b", ".", "!", {}, "a!b"),
        ("a.b", ".", "!", {"regex": True}, "!!!"),
        ("red car", r"(\w+) car", r"car, \1", {"regex": True}, "car, red"),
        ("a cat. a cat.", r"^a ", "the ", {"regex": True}, "the cat. a cat."),
        (r"a\1", "a", r"\1", {}, r"\1\1"),
        ("The cats|dog", "cats|dog", "x", {"regex": True, "word": True, "ignore_case": True}, "The x|x"),
    ],
)
def test_options_of_replace(text: str, find: str, replacement: str, options: dict[str, bool], expected: str) -> None:
    edit = with_replacement(pattern_for(find, **options), replacement, regex=options.get("regex", False))
    assert edit(text) == expected


@given(st.text(max_size=8), st.text(max_size=8))
def test_no_expression_ends_in_a_traceback(find: str, replacement: str) -> None:
    try:
        edit = with_replacement(pattern_for(find, regex=True), replacement, regex=True)
    except SpecError:
        return
    edit("a photo of a cat, 12\n")


@pytest.mark.parametrize(("find", "replacement"), [("", "x"), ("(", "x"), ("a", r"\1"), ("a", r"\g<b>"), ("a", "\\")])
def test_expressions_that_are_none_are_told(find: str, replacement: str) -> None:
    with pytest.raises(SpecError):
        with_replacement(pattern_for(find, regex=True), replacement, regex=True)
