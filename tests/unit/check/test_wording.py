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
    def make(captions: Sequence[str], trigger: str | None = "zxq", style: bool = False) -> dict[str, tuple[str, ...]]:
        items = [Item(Path(f"{n}.png"), str(n), caption, (64, 64), None, None) for n, caption in enumerate(captions)]
        remarks = wording_remarks(Scan(images(), tuple(items), ()), trigger, style=style)
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


@pytest.mark.parametrize(
    ("caption", "what"),
    [
        ("zxq, a woman, her hair is blonde", "hair: blonde"),
        ("zxq, an auburn-haired woman smiles", "hair: red"),
        ("zxq, a blonde woman in a garden", "hair: blonde"),
        ("zxq, a woman with long dark hair, wearing a blue dress", "hair: dark"),
        ("zxq, a redhead with long hair", "hair: red"),
        ("zxq, a young man with short jet black hair", "hair: black"),
        ("zxq, dark brown hair", ""),
        ("zxq, a woman with light brown wavy hair", ""),
        ("zxq, a brunette", ""),
        ("zxq, brown hair, red hair ribbons", ""),
        ("zxq, a woman in a red dress with hair in a bun", ""),
        ("zxq, a red coat and hair in a bun", ""),
        ("zxq, a woman with dark hair next to a man with blonde hair", ""),
        ("zxq, a woman with brown hair and blue eye shadow", ""),
    ],
)
def test_a_look_is_told_in_many_ways(told: Callable[..., dict[str, tuple[str, ...]]], caption: str, what: str) -> None:
    files = told(["zxq, a woman with brown hair", "zxq, brown hair", caption]).get("look-varies", ())
    assert [line.removesuffix(" (1 caption)") for line in files[1:]] == ([what] if what else [])


@pytest.mark.parametrize(
    ("caption", "kind"),
    [
        ("zxq, early 2010s snapshot photo captured with a phone. three men stand indoors", "photo"),
        ("zxq, a painting in the style of a cartoon", "painting"),
        ("zxq, in the style of a watercolor painting, a boat", "watercolour"),
        ("zxq, a boy looks at a painting on the wall", ""),
        ("zxq. A man sits at a desk. A photo hangs behind him.", ""),
        ("zxq, a comic book lies on a table", ""),
        ("zxq, a woman holding a drawing of a cat", ""),
    ],
)
def test_a_picture_in_the_picture_is_no_kind_of_picture(
    told: Callable[..., dict[str, tuple[str, ...]]], caption: str, kind: str
) -> None:
    files = told(["zxq, a sketch of a cat", "zxq, sketch, a dog", caption], style=True).get("look-varies", ())
    assert files[1:] == ((f"kind of picture: {kind} (1 caption)",) if kind else ())


def test_persons_in_a_style_may_look_as_they_like(told: Callable[..., dict[str, tuple[str, ...]]]) -> None:
    captions = ["zxq, a man with grey hair", "zxq, a tall man with grey hair", "zxq, a boy with brown hair"]
    assert "look-varies" in told(captions)
    assert told(captions, style=True) == {}


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("zxq, a watermarked picture", "watermarked"),
        ("zxq, time-stamp at the bottom", "time-stamp"),
        ("zxq, a logo in the lower corner", "logo"),
        ("zxq, a text overlay, a dancer", "text overlay"),
        ("zxq, black bars above and below", "black bars"),
        ("zxq, a signature in the corner", "signature"),
        ("zxq, a boat. Signature.", "signature"),
        ("zxq, a man in a t-shirt with a logo on it", ""),
        ("zxq, a dancer does her signature move", ""),
        ("zxq, a prisoner behind black bars", ""),
        ("zxq, no watermark, without subtitles", ""),
        ("zxq, a sign that reads “OPEN”", ""),
    ],
)
def test_what_nobody_wants_is_told_from_what_belongs_to_a_scene(
    told: Callable[..., dict[str, tuple[str, ...]]], caption: str, found: str
) -> None:
    assert told([caption], None).get("caption-unwanted", ()) == ((f"0.png ({found})",) if found else ())


def test_the_example_captions_of_both_articles_give_no_findings(
    told: Callable[..., dict[str, tuple[str, ...]]],
) -> None:
    first = [
        "cartoon screencap in rm artstyle. a man with a burgundy suit and a tie stands left of a man in a black suit.",
        "cartoon screencap in rm artstyle. a snowy city sidewalk at night. a shelter with lit advertisements.",
        "cartoon screencap in rm artstyle. a boy with short brown hair in an office full of shelves. a photo of a dog.",
        "cartoon screencap in rm artstyle. a girl with red hair. bold black outlines, flat shading, big round eyes.",
    ]
    assert told(first, "cartoon screencap in rm artstyle") == {}
    assert told(first, "rm artstyle", style=True) == {}
    second = [
        "zxq-person, a woman with long dark hair, wearing a blue dress, standing in a garden, full body shot",
        "zxq-person, a woman with long dark hair, wearing a red jacket, sitting at a desk, a photo on the wall",
        "zxq-person, a woman with long dark hair, close-up portrait, next to a man with grey hair",
    ]
    assert told(second, "zxq-person") == {}
