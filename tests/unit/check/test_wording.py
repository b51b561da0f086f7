"""Captions that tell the trigger's own look differently, or name what nobody wants, are advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from wan22lora.check.wording import wording_remarks
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source


@pytest.fixture
def told(images: Callable[..., Source]) -> Callable[..., dict[str, tuple[str, ...]]]:
    def make(captions: Sequence[str], trigger: str | None = "zxq") -> dict[str, tuple[str, ...]]:
        items = [Item(Path(f"{n}.png"), str(n), caption, (64, 64), None, None) for n, caption in enumerate(captions)]
        remarks = wording_remarks(Scan(images(), tuple(items), ()), trigger)
        return {remark.kind: remark.files for remark in remarks}

    return make


def test_a_look_that_some_captions_tell_otherwise_is_advice(told: Callable[..., dict[str, tuple[str, ...]]]) -> None:
    captions = ["zxq, a woman with long brown hair", "zxq, brown wavy hair", "zxq with Blond hair", "zxq, a garden"]
    assert told(captions) == {"look-varies": ("hair: brown (2 captions)", "hair: blonde (1 caption)")}
    assert told(captions, trigger=None) == {}


def test_only_the_captions_that_differ_from_the_most_are_pointed_at(images: Callable[..., Source]) -> None:
    captions = ["zxq, brown hair", "zxq, brown hair", "zxq, red hair"]
    items = tuple(Item(Path(f"{n}.png"), str(n), text, (64, 64), None, None) for n, text in enumerate(captions))
    (remark,) = wording_remarks(Scan(images(), items, ()), "zxq")
    assert [each.paths for each in remark.about] == [(), (Path("2.png"),)]


def test_words_that_mean_the_same_do_not_vary(told: Callable[..., dict[str, tuple[str, ...]]]) -> None:
    assert told(["zxq, blonde hair", "zxq, blond hair", "zxq, golden hair"]) == {}


def test_many_looks_are_many_persons(told: Callable[..., dict[str, tuple[str, ...]]]) -> None:
    assert told([f"zxq, a man with {colour} hair" for colour in ("red", "brown", "black", "grey")]) == {}
    assert told(["zxq, a man with red hair and a woman with brown hair"] * 2 + ["zxq, red hair"]) == {}


def test_what_has_a_colour_beside_hair_is_no_hair(told: Callable[..., dict[str, tuple[str, ...]]]) -> None:
    assert told(["zxq, brown hair, red dress", "zxq, a blue dress and brown hair", "zxq, brown hair"]) == {}


def test_a_style_called_by_several_names_is_advice(told: Callable[..., dict[str, tuple[str, ...]]]) -> None:
    files = told(["zxq cartoon, a cat", "zxq cartoon, a dog", "zxq watercolor, a bird"])["look-varies"]
    assert files == ("kind of picture: cartoon (2 captions)", "kind of picture: watercolour (1 caption)")


def test_a_trigger_that_holds_such_a_word_does_not_count(told: Callable[..., dict[str, tuple[str, ...]]]) -> None:
    captions = ["zxq cartoon, a cat", "zxq cartoon, a photo on a wall", "zxq cartoon, a dog"]
    assert told(captions, trigger="zxq cartoon") == {}


def test_what_nobody_wants_is_named(told: Callable[..., dict[str, tuple[str, ...]]]) -> None:
    captions = ["zxq, a Watermark in the corner", "zxq, a boat", "zxq, with subtitles", "zxq, curls"]
    assert told(captions, None) == {"caption-unwanted": ("0.png (watermark)", "2.png (subtitles)")}
