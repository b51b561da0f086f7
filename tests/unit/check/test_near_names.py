"""Captions that a person sees as rightly named are told and renamed; none that could be meant for another picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.check.near_names import near_names
from wan22lora.dataset.source import Source

from .conftest import Said

NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize(
    ("media", "captions", "expected"),
    [
        (["a.png"], ["a.txt"], ()),
        (["a.png"], ["b.txt"], ()),
        ([f"{NFC}.png"], [f"{NFD}.txt"], ((f"{NFD}.txt", f"{NFC}.txt"),)),
        ([f"{NFD}.png"], [f"{NFC}.txt"], ((f"{NFC}.txt", f"{NFD}.txt"),)),
        (["IMG_1.JPG"], ["img_1.txt"], (("img_1.txt", "IMG_1.txt"),)),
        (["07.png"], ["07.png.txt"], (("07.png.txt", "07.txt"),)),
        (["07.png"], ["07.TXT"], (("07.TXT", "07.txt"),)),
        (["a .png"], ["a.txt"], (("a.txt", "a .txt"),)),
        (["a.png"], ["A.txt", "a .txt"], ()),
        (["a.png", "A.png"], ["a .txt"], ()),
        (["a.png", "A.png"], ["A.txt"], ()),
        (["a.png", "b.png"], ["a.txt", "B.txt"], (("B.txt", "b.txt"),)),
        (["a.png"], ["a.txt", "a.png.txt", "A.TXT"], ()),
        (["a.png", "a.png.png"], ["A.png.txt"], ()),
        (["a.png"], [".txt"], ()),
    ],
)
def test_only_one_possible_picture_counts(
    media: list[str], captions: list[str], expected: tuple[tuple[str, str], ...]
) -> None:
    assert near_names(media, [*media, *captions], ".txt") == expected


STEMS = st.lists(st.sampled_from(["a", "A", "a ", "b", "B", NFC, NFD, "a.png"]), unique=True)


@given(STEMS, STEMS, st.sampled_from([".txt", ".caption"]))
def test_no_name_is_given_or_taken_twice_and_none_that_fits_is_touched(
    pictures: list[str], captions: list[str], extension: str
) -> None:
    media = [f"{stem}.png" for stem in pictures]
    names = [*media, *(stem + extension for stem in captions)]
    renames = near_names(media, names, extension)
    for column in zip(*renames, strict=True):
        assert len(set(column)) == len(column)
    for old, new in renames:
        assert new not in names
        assert old.removesuffix(extension) not in pictures
        assert new.removesuffix(extension) in pictures


def test_a_caption_that_is_named_nearly_right_is_a_warning(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, folder: Path
) -> None:
    picture("b.png")
    picture(f"{NFC}.png")
    (folder / f"{NFC}.txt").rename(folder / f"{NFD}.txt")
    (folder / "alone.txt").write_text("zxq")
    remarks = said(images())
    remark = remarks["caption-numbering"]
    assert remark.message == "1 caption named nearly as its picture"
    assert remark.files == (f"{NFD}.txt → {NFC}.txt",)
    assert "--fix" in remark.fix
    assert remarks["caption-alone"].files == ("alone.txt",)
