"""A picture is turned as its tag says, keeps what it had beside its pixels, and nothing half-good is returned."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageOps, ImageStat

from wan22lora.mending.upright import NotTurnedError, upright

ORIENTATION, MAKER = 0x0112, 0x010F


def scene(size: tuple[int, int] = (201, 133)) -> Image.Image:
    chance = random.Random(7)
    picture = Image.new("RGB", size, (120, 160, 90))
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y = chance.randrange(size[0]), chance.randrange(size[1])
        colour = (chance.randrange(256), chance.randrange(256), chance.randrange(256))
        draw.ellipse((x, y, x + 50, y + 30), fill=colour)
    return picture


def file(form: str, orientation: int = 6, mode: str = "RGB", **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = orientation, "a camera"
    out = io.BytesIO()
    scene().convert(mode).save(out, form, exif=exif, **options)
    return out.getvalue()


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def difference(one: Image.Image, other: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_every_tag_is_carried_out(form: str, orientation: int) -> None:
    content = file(form, orientation)
    wanted = ImageOps.exif_transpose(opened(content))
    turned = opened(upright(content))
    assert turned.format == form
    assert turned.size == wanted.size == ((201, 133) if orientation < 5 else (133, 201))
    assert difference(turned, wanted) <= (0 if form != "JPEG" else 1.0)
    assert turned.getexif().get(ORIENTATION, 1) == 1
    assert turned.getexif().get(MAKER) == "a camera"


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_loses_next_to_nothing(quality: int, subsampling: int) -> None:
    content = file("JPEG", quality=quality, subsampling=subsampling)
    assert difference(opened(upright(content)), ImageOps.exif_transpose(opened(content))) < 1.0


def test_the_colour_profile_stays() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for form in ("PNG", "JPEG", "WEBP"):
        assert opened(upright(file(form, icc_profile=profile))).info["icc_profile"] == profile


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "P"), ("PNG", "L"), ("PNG", "RGBA"), ("JPEG", "L"), ("JPEG", "CMYK")]
)
def test_other_modes_stay_as_they_are(form: str, mode: str) -> None:
    content = file(form, mode=mode)
    turned = opened(upright(content))
    assert turned.mode == opened(content).mode
    assert turned.size == (133, 201)


def test_a_phones_two_pictures_become_the_one_that_trains() -> None:
    content = file("MPO", save_all=True, append_images=[scene()])
    assert opened(content).format == "MPO"
    turned = opened(upright(content))
    assert (turned.format, turned.size) == ("JPEG", (133, 201))


def test_what_cannot_be_turned_says_why() -> None:
    with pytest.raises(NotTurnedError, match="animated"):
        upright(file("WEBP", save_all=True, append_images=[scene().rotate(40)]))
    with pytest.raises(NotTurnedError, match="TIFF"):
        upright(file("TIFF"))
    chance = random.Random(3)
    for form in ("PNG", "JPEG", "WEBP"):
        whole = file(form)
        for _ in range(40):
            damaged = bytearray(whole[: chance.randrange(1, len(whole))])
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            with suppress(NotTurnedError):
                opened(upright(bytes(damaged)))
