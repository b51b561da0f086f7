"""Pictures are decoded as far as the time goes, and what was not decoded is said and can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.check import seeing
from wan22lora.check.facts import Looked, look_at
from wan22lora.check.picture_facts import PictureFacts
from wan22lora.check.pictures import duplicate_remarks, picture_remarks
from wan22lora.dataset.memory import Memory
from wan22lora.dataset.png import png_damage
from wan22lora.dataset.scan import scan
from wan22lora.dataset.source import Source

from .conftest import damage

pytestmark = pytest.mark.usefixtures("settled")


@pytest.fixture
def short_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a JPEG of 128², not for a PNG."""
    monkeypatch.setattr(seeing, "_threads", lambda: 1)
    monkeypatch.setattr(seeing, "CORE_SECONDS", 0.0001)


def look(source: Source, memory: Memory | None = None, *, thorough: bool = False) -> Looked:
    (looked,) = look_at([scan(source)], memory, thorough=thorough)
    return looked


def decoded(looked: Looked) -> list[str]:
    return [each.item.path.name for each in looked.pictures if each.decoded]


def test_cheap_formats_come_first_and_the_rest_is_said(
    picture: Callable[..., Path], images: Callable[..., Source], short_of_time: None
) -> None:
    picture("a.png")
    picture("b.jpg")
    looked = look(images())
    assert decoded(looked) == ["b.jpg"]
    (remark,) = (each for each in picture_remarks(looked) if each.kind == "not-decoded")
    assert remark.files == ("a.png",)
    assert "--thorough" in remark.fix
    assert remark.level == "note"


def test_thorough_decodes_all(picture: Callable[..., Path], images: Callable[..., Source], short_of_time: None) -> None:
    picture("a.png")
    picture("b.jpg")
    looked = look(images(), thorough=True)
    assert decoded(looked) == ["a.png", "b.jpg"]
    assert "not-decoded" not in {each.kind for each in picture_remarks(looked)}


def test_a_damaged_png_is_found_without_decoding_it(
    picture: Callable[..., Path], images: Callable[..., Source], short_of_time: None
) -> None:
    damage(picture("a.png"))
    picture("b.png")
    looked = look(images())
    assert [bool(each.broken) for each in looked.pictures] == [True, False]


def test_copies_are_found_without_decoding_them(
    picture: Callable[..., Path], images: Callable[..., Source], folder: Path, short_of_time: None
) -> None:
    (folder / "c.png").write_bytes(picture("a.png").read_bytes())
    (folder / "c.txt").write_text("a copy", encoding="utf-8")
    picture("b.png")
    looked = look(images())
    assert decoded(looked) == []
    (remark,) = duplicate_remarks([looked])
    assert remark.files == ("a.png = c.png",)


def test_what_is_known_is_told_again_without_opening_anything(
    picture: Callable[..., Path], images: Callable[..., Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture("a.png", mode="RGBA")
    picture("b.jpg", mode="CMYK")
    picture("c.png").write_bytes(picture("d.png").read_bytes()[:-20] + bytes(20))
    memory = Memory()
    first = look(images(), memory)

    def never(*_: object, **__: object) -> PictureFacts:
        raise AssertionError("an unchanged picture was opened")

    monkeypatch.setattr(seeing, "read_facts", never)
    assert look(images(), memory) == first


def test_what_was_not_decoded_stays_so_until_it_is_asked_for_and_then_is_known(
    picture: Callable[..., Path], images: Callable[..., Source], short_of_time: None
) -> None:
    picture("a.png")
    memory = Memory()
    assert decoded(look(images(), memory)) == []
    assert decoded(look(images(), memory)) == []
    assert decoded(look(images(), memory, thorough=True)) == ["a.png"]
    assert decoded(look(images(), memory)) == ["a.png"]


def test_every_byte_of_a_png_is_under_a_checksum(picture: Callable[..., Path]) -> None:
    whole = picture("a.png", (32, 32)).read_bytes()
    assert png_damage(whole) == ""
    assert png_damage(whole + b"behind the end") == ""
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1
        assert png_damage(bytes(flipped)), at
        assert png_damage(whole[:at]), at
