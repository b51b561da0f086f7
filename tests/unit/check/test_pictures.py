"""Pictures that train otherwise than they look are named."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wan22lora.check.picture_facts import read_facts
from wan22lora.check.pictures import fit
from wan22lora.dataset.source import Item, Source

from .conftest import Said, damage, drawn

ADVICE = {"count"}
"""What is said of every one of these small datasets."""


def test_ten_good_pictures_need_no_remark(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    for index in range(10):
        picture(f"{index}.png")
    assert said(images(), trigger="zxq") == {}


def test_pictures_without_captions_are_looked_at_as_well(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    picture("a.jpg", mode="CMYK").with_suffix(".txt").unlink()
    picture("b.png", size=(40, 40)).with_suffix(".txt").unlink()
    picture("c.png")
    remarks = said(images(), trigger="zxq")
    assert remarks.keys() == {"cmyk", "enlarged", *ADVICE}
    assert (remarks["cmyk"].files, remarks["enlarged"].files) == (("a.jpg",), ("b.png (40×40, 3.2×)",))


def test_cmyk_is_a_warning(picture: Callable[..., Path], images: Callable[..., Source], said: Said) -> None:
    picture("a.jpg", mode="CMYK")
    picture("b.jpg")
    remark = said(images())["cmyk"]
    assert (remark.level, remark.files) == ("warning", ("a.jpg",))


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_an_animated_picture_is_a_warning(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, name: str
) -> None:
    picture(name, save_all=True, append_images=[drawn("another", (128, 128))])
    assert said(images())["animated"].files == (name,)


def test_only_pixels_that_are_not_opaque_are_transparency(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, folder: Path
) -> None:
    picture("opaque.png", mode="RGBA")
    assert said(images()).keys() == ADVICE
    image = drawn("clear", (128, 128)).convert("RGBA")
    image.putpixel((3, 3), (0, 0, 0, 0))
    image.save(picture("clear.png"))
    palette = drawn("palette", (128, 128)).convert("P")
    palette.save(picture("palette.png"), transparency=palette.getpixel((0, 0)))
    assert said(images())["transparent"].files == ("clear.png", "palette.png")


def test_pictures_too_small_say_by_how_much_they_are_enlarged(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    picture("a.png", (64, 64))
    picture("b.png", (120, 120))
    remark = said(images())["enlarged"]
    assert remark.files == ("a.png (64×64, 2.0×)",)
    assert "enlarged" not in said(images(bucket_no_upscale=True))


def test_extreme_shapes_say_how_much_is_cut_off(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    picture("a.png", (1280, 128))
    picture("b.png", (192, 128))
    assert said(images())["cropped"].files == ("a.png (1280×128, 60%)",)


def test_without_buckets_even_a_usual_shape_loses_much(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    picture("b.png", (256, 128))
    remark = said(images(bucket=False))["cropped"]
    assert remark.files == ("b.png (256×128, 50%)",)
    assert "Turn buckets on" in remark.fix


side = st.integers(1, 5000)


@given(size=st.tuples(side, side), bucket=st.tuples(side, side))
def test_a_picture_always_covers_its_bucket(size: tuple[int, int], bucket: tuple[int, int]) -> None:
    scale, lost = fit(size, bucket)
    assert size[0] * scale >= bucket[0] - 1e-6
    assert size[1] * scale >= bucket[1] - 1e-6
    assert 0 <= lost < 1


def test_a_picture_that_is_damaged_inside_is_an_error(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    damage(picture("a.png"))
    remark = said(images())["broken"]
    assert remark.level == "error"
    assert "a.png" in remark.files[0]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp"])
def test_no_damage_ends_the_check(picture: Callable[..., Path], name: str) -> None:
    path = picture(name, (64, 64))
    whole = path.read_bytes()
    chance = random.Random(name)
    for _ in range(100):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 20)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.randrange(len(content))] if chance.random() < 0.3 else content)
        read_facts(Item(path, "a", "zxq", (64, 64), None, None))


def test_phones_that_write_two_pictures_into_one_jpeg_make_no_animation(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    path = picture("a.jpg")
    with Image.open(path) as image:
        image.save(path, format="MPO", save_all=True, append_images=[image.copy()])
    assert "animated" not in said(images())
