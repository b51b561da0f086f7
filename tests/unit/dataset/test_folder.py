"""A folder is listed as musubi-tuner lists it, and what is wrong with it is said."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.dataset.scan import scan
from wan22lora.dataset.source import Source
from wan22lora.errors import Finding


def texts(source: Source, level: str = "error") -> list[str]:
    return [finding.message for finding in scan(source).findings if finding.level == level]


def only(source: Source) -> Finding:
    (finding,) = scan(source).findings
    return finding


def test_pictures_are_found_in_the_order_of_their_names(
    picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    for name in ("b.png", "a.JPG", "C.webp", "d.BMP", "e.jpeg"):
        picture(name)
    found = scan(images())
    assert [item.path.name for item in found.items] == ["C.webp", "a.JPG", "b.png", "d.BMP", "e.jpeg"]
    assert [item.stem for item in found.items] == ["C", "a", "b", "d", "e"]
    assert found.findings == ()


def test_hidden_files_and_subfolders_are_not_searched(
    picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    picture("a.png")
    picture(".hidden.png")
    picture("more/b.png")
    assert [item.stem for item in scan(images()).items] == ["a"]


def test_names_of_mixed_case_and_other_formats_are_pointed_out(
    picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    picture("a.png")
    picture("b.Png")
    picture("c.gif")
    picture("d.tiff")
    finding = only(images())
    assert finding.level == "warning"
    assert "3 files" in finding.message
    assert "b.Png, c.gif, d.tiff" in finding.message


def test_a_caption_is_read_as_musubi_reads_it(picture: Callable[..., Path], images: Callable[..., Source]) -> None:
    path = picture("a.png")
    path.with_suffix(".txt").write_bytes("\n a bird,\r\n 鳥 \r\n".encode())
    assert scan(images()).items[0].caption == "a bird,\n 鳥"


def test_captions_may_have_another_extension(
    picture: Callable[..., Path], images: Callable[..., Source], folder: Path
) -> None:
    picture("a.png", caption=None)
    (folder / "a.caption").write_text("a bird", encoding="utf-8")
    assert scan(images(caption_extension=".caption")).items[0].caption == "a bird"


def test_an_extension_of_two_parts_finds_pictures_no_captions(
    picture: Callable[..., Path], images: Callable[..., Source], folder: Path
) -> None:
    picture("a.png", caption=None)
    (folder / "a.en.txt").write_text("a bird", encoding="utf-8")
    assert "without a caption" in texts(images(caption_extension=".en.txt"))[0]


def test_a_clip_takes_an_extension_of_two_parts(
    clip: Callable[..., Path], videos: Callable[..., Source], folder: Path
) -> None:
    clip("a.mp4", caption=None)
    (folder / "a.en.txt").write_text("a bird", encoding="utf-8")
    assert scan(videos(caption_extension=".en.txt")).findings == ()


def test_three_hundred_missing_captions_are_one_finding(
    picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    for number in range(300):
        picture(f"{number:03d}.png", (16, 16), caption=None)
    picture("good.png")
    found = scan(images())
    (finding,) = found.findings
    assert finding.message.startswith("300 pictures without a caption")
    assert finding.message.endswith(": 000.png, 001.png, 002.png, 003.png, 004.png and 295 more")
    assert "leaves out" in finding.message
    assert "d0a1930" in finding.message
    assert [item.stem for item in found.items] == ["good"]


def test_a_caption_that_is_not_utf8_is_an_error(picture: Callable[..., Path], images: Callable[..., Source]) -> None:
    picture("a.png").with_suffix(".txt").write_bytes("Vögel".encode("latin-1"))
    assert "not UTF-8" in only(images()).message


@pytest.mark.parametrize("caption", ["", " \n", "\ufeff"])
def test_an_empty_caption_is_a_warning(
    picture: Callable[..., Path], images: Callable[..., Source], caption: str
) -> None:
    picture("a.png", caption=caption)
    found = scan(images())
    assert any("empty caption" in text for text in texts(images(), "warning"))
    assert len(found.items) == 1
    assert texts(images()) == []


def test_a_byte_order_mark_is_a_warning(picture: Callable[..., Path], images: Callable[..., Source]) -> None:
    picture("a.png", caption="\ufeffa bird")
    assert "byte order mark" in only(images()).message


def test_a_folder_that_is_none_is_an_error(
    folder: Path, images: Callable[..., Source], picture: Callable[..., Path]
) -> None:
    assert "does not exist" in only(images(directory=folder / "none")).message
    assert "not a folder" in only(images(directory=picture("a.png"))).message


def test_an_empty_folder_says_where_the_pictures_may_be(
    folder: Path,
    images: Callable[..., Source],
    videos: Callable[..., Source],
    picture: Callable[..., Path],
) -> None:
    assert "Put pictures" in only(images()).fix
    picture("raw/a.png")
    assert str(folder / "raw") in only(images()).fix
    picture("b.png")
    assert "dataset of images" in only(videos()).fix


def test_a_picture_that_cannot_be_read_is_left_out_with_the_reason(
    folder: Path, picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    picture("a.png")
    picture("b.png")
    (folder / "b.png").write_bytes(b"<html>404</html>")
    found = scan(images())
    assert [item.stem for item in found.items] == ["a"]
    assert "b.png (not a picture that can be read)" in only(images()).message


def test_a_name_that_leaves_no_room_for_its_cache_files_is_an_error(
    picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    picture("a" * 229 + ".png")
    assert texts(images()) == []
    picture("b" * 230 + ".png")
    (message,) = texts(images())
    assert "1 picture with a name too long for its cache files" in message


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_is_an_error_that_can_be_printed(
    folder: Path, picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    made = picture("a.png")
    for ending in (".png", ".txt"):
        made.with_suffix(ending).rename(folder / os.fsdecode(b"\xff" + ending.encode()))
    (message,) = texts(images())
    assert "not UTF-8" in message
    assert message.encode().endswith(b"\\udcff.png")


def test_a_file_far_too_large_for_a_caption_is_not_read(
    picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    caption = picture("a.png").with_suffix(".txt")
    with caption.open("wb") as file:
        file.truncate(1 << 40)
    (finding,) = (each for each in scan(images()).findings if each.kind == "caption-unreadable")
    assert "a.png" in finding.message
    assert "over 1 MiB" in finding.message


def test_names_cannot_give_orders_to_the_terminal(picture: Callable[..., Path], images: Callable[..., Source]) -> None:
    picture("\x1b[2J\u202egnp.png", caption=None)
    picture("two\nlines.png", caption=None)
    (finding,) = (each for each in scan(images()).findings if each.kind == "caption-missing")
    assert finding.message.isprintable()
    assert "\\x1b[2J\\u202egnp.png" in finding.message
    assert "two\\nlines.png" in finding.message
