"""Captions that are numbered otherwise than their pictures are told from other mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from wan22lora.check.numbering import mismatch
from wan22lora.dataset.source import Source

from .conftest import Said


def test_captions_counted_from_zero_are_shifted() -> None:
    found = mismatch([f"{n:02d}" for n in range(1, 5)], [f"{n:02d}" for n in range(4)])
    assert found is not None
    assert found.shift == 1
    assert found.renames == (("03", "04"), ("02", "03"), ("01", "02"), ("00", "01"))


def test_captions_without_leading_zeros_have_the_same_numbers() -> None:
    found = mismatch(["img_01", "img_02"], ["image1", "image2"])
    assert found is not None
    assert found.shift == 0
    assert found.renames == (("image1", "img_01"), ("image2", "img_02"))


def test_what_no_shift_explains_is_none() -> None:
    assert mismatch(["1", "2"], ["1", "2"]) is None
    assert mismatch(["1", "2", "3"], ["1", "2"]) is None
    assert mismatch(["1", "2"], ["1", "4"]) is None
    assert mismatch(["a", "b"], ["1", "2"]) is None
    assert mismatch(["1", "2"], ["a1", "b2"]) is None
    assert mismatch(["1"], ["2"]) is None


stems = st.text(st.sampled_from("ab01"), min_size=1, max_size=4)


@given(pictures=st.lists(stems, unique=True), captions=st.lists(stems, unique=True))
def test_renaming_in_the_order_given_pairs_all_and_overwrites_none(pictures: list[str], captions: list[str]) -> None:
    found = mismatch(pictures, captions)
    if found is None:
        return
    names = set(captions)
    for old, new in found.renames:
        assert old in names
        assert new not in names
        names = (names - {old}) | {new}
    assert names == set(pictures)


def test_a_shifted_folder_says_how_many_pictures_have_anothers_caption(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, folder: Path
) -> None:
    for index in range(1, 11):
        picture(f"{index:02d}.png")
    (folder / "10.txt").rename(folder / "00.txt")
    remark = said(images())["caption-numbering"]
    assert "shifted by 1" in remark.message
    assert "9 pictures would train with the caption of another one" in remark.message
    assert remark.files[0] == "09.txt → 10.txt"
    assert remark.files[-1] == "00.txt → 01.txt"
