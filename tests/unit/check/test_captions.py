"""Captions that teach less than they seem to are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.check.captions import tokens_about
from wan22lora.check.words import is_common
from wan22lora.dataset.source import Source

from .conftest import Said


def test_identical_captions_are_named_together(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    for name in ("a", "b", "c"):
        picture(f"{name}.png", caption="zxq" if name != "b" else "zxq, a boat")
    assert said(images())["caption-identical"].files == ("a.png = c.png",)


def test_a_caption_longer_than_the_text_encoder_reads_is_a_warning(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    picture("a.png", caption="word " * 600)
    picture("b.png", caption="word " * 300)
    remark = said(images())["caption-long"]
    assert remark.files == ("a.png (about 750 tokens)",)
    assert "estimated" in remark.why


def test_the_estimate_counts_chinese_characters_as_words() -> None:
    assert tokens_about("一" * 900) == 600
    assert tokens_about("") == 0


def test_a_trigger_that_is_not_first_is_advice(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    picture("a.png", caption="a boat in zxq style")
    picture("b.png", caption="zxq, a boat")
    remark = said(images(), trigger="zxq")["trigger-not-first"]
    assert (remark.level, remark.files) == ("note", ("a.png",))
    assert "trigger-not-first" not in said(images())


def test_an_everyday_word_as_trigger_is_a_warning(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    picture("a.png", caption="dog, on a beach")
    remark = said(images(), trigger="dog")["trigger-common"]
    assert remark.where == "run.yaml:4:1 trigger"
    assert "list" in remark.why


@pytest.mark.parametrize(
    ("trigger", "common"),
    [
        ("woman", True),
        ("Red Dogs", True),
        ("paper_house", True),
        ("zxq", False),
        ("zxq woman", False),
        ("", False),
        ("Emma", True),
        ("cartoon screencap", True),
        ("my-style", True),
        ("girl1", True),
        ("zxq-person", False),
        ("rm artstyle", False),
        ("paperworld", False),
        ("2024", False),
    ],
)
def test_a_trigger_is_common_when_all_of_its_words_are(trigger: str, common: bool) -> None:
    assert is_common(trigger) is common
