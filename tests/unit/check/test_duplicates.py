"""Copies of a picture are found, whatever their size and format; different pictures are not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from wan22lora.check.duplicates import APART, Look, groups_of_alike
from wan22lora.dataset.source import Source

from .conftest import Said, drawn

COLOUR = (90, 90, 90)


def test_copies_in_another_size_or_format_are_alike(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, folder: Path
) -> None:
    for index in range(12):
        picture(f"{index:02d}.png", (512, 512))
    drawn("03.png", (512, 512)).resize((300, 300)).save(picture("smaller.jpg"), quality=60)
    drawn("05.png", (512, 512)).save(picture("same.webp"), quality=80)
    remark = said(images())["alike"]
    assert remark.files == ("03.png = smaller.jpg", "05.png = same.webp")


def test_copies_in_two_datasets_are_alike(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, tmp_path: Path
) -> None:
    here = picture("a.png")
    there = tmp_path / "there"
    there.mkdir()
    (there / "b.png").write_bytes(here.read_bytes())
    (there / "b.txt").write_text("zxq, b", encoding="utf-8")
    assert said(images(), images(directory=there))["alike"].files == ("a.png = b.png",)


def test_a_folder_that_is_trained_at_two_resolutions_is_no_folder_of_copies(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    picture("a.png")
    picture("copy.png").write_bytes(picture("b.png").read_bytes())
    assert said(images(), images(resolution=(512, 512)))["alike"].files == ("b.png = copy.png",)


@given(bits=st.integers(0, 2**64 - 1), flipped=st.sets(st.integers(0, 63), max_size=APART))
def test_every_pair_within_the_distance_is_found(bits: int, flipped: set[int]) -> None:
    other = bits
    for bit in flipped:
        other ^= 1 << bit
    assert groups_of_alike([Look(bits, COLOUR), None, Look(other, COLOUR)]) == ((0, 2),)


def test_flat_pictures_of_different_colours_are_not_alike() -> None:
    assert groups_of_alike([Look(0, (0, 0, 0)), Look(0, (0, 0, 40))]) == ()


def test_the_time_grows_with_the_number_of_pictures_and_not_with_its_square() -> None:
    chance = random.Random(7)
    flat = [Look(0, (chance.randrange(256), chance.randrange(256), chance.randrange(256))) for _ in range(5000)]
    busy = [Look(chance.getrandbits(64), COLOUR) for _ in range(5000)]
    begun = time.process_time()
    groups_of_alike(flat + busy)
    assert time.process_time() - begun < 10
