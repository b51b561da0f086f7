"""What a file's name would have the screen do is spelled out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.readable import readable


@pytest.mark.parametrize("text", ["a.png", "写真 ü ×", "👩‍👩‍👧", "two\nlines"])
def test_usual_names_stay_as_they_are(text: str) -> None:
    assert readable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[2J", "\\x1b[2J"), ("\u202egnp.exe", "\\u202egnp.exe"), ("caf\udce9", "caf\\udce9"), ("\t", "\\t")],
)
def test_orders_and_half_characters_are_spelled_out(text: str, shown: str) -> None:
    assert readable(text) == shown


@given(st.text(st.characters()))
def test_any_text_can_be_printed(text: str) -> None:
    shown = readable(text)
    shown.encode("utf-8")
    assert all(character.isprintable() or character in "\n\u200d" for character in shown)
