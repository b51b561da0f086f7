"""A picture's size comes from its header, and one that is cut off is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.dataset.pictures import UnreadableError, read_picture

FORMATS = ["a.png", "a.jpg", "a.webp", "a.bmp"]


@pytest.mark.parametrize("name", [*FORMATS, "a.avif"])
def test_the_stored_size_is_read(picture: Callable[..., Path], name: str) -> None:
    found = read_picture(picture(name, (70, 50)))
    assert (found.size, found.turned) == ((70, 50), False)


@pytest.mark.parametrize("name", FORMATS)
def test_a_picture_that_is_cut_off_cannot_be_read(folder: Path, name: str) -> None:
    path = folder / name
    Image.effect_noise((200, 200), 90).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableError):
        read_picture(path)


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_after_the_picture_do_no_harm(picture: Callable[..., Path], name: str) -> None:
    path = picture(name)
    path.write_bytes(path.read_bytes() + b"\n\n")
    assert read_picture(path).size == (64, 48)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBPVP8 "])
def test_what_is_no_picture_cannot_be_read(folder: Path, content: bytes) -> None:
    (folder / "a.png").write_bytes(content)
    with pytest.raises(UnreadableError):
        read_picture(folder / "a.png")


def test_a_missing_file_a_folder_and_a_bomb_cannot_be_read(
    folder: Path, picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnreadableError, match="No such file"):
        read_picture(folder / "none.png")
    (folder / "folder.png").mkdir()
    with pytest.raises(UnreadableError):
        read_picture(folder / "folder.png")
    path = picture("large.png", (100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableError, match="exceeds limit"):
        read_picture(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_rotation_tag_is_noticed_and_not_applied(picture: Callable[..., Path], name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = read_picture(picture(name, (70, 50), exif=exif))
    assert (found.size, found.turned) == ((70, 50), True)


def test_a_pipe_in_a_pictures_place_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "a.png")
    with pytest.raises(UnreadableError, match="a pipe"):
        read_picture(folder / "a.png")


def test_a_device_in_a_pictures_place_is_not_read_without_end(folder: Path) -> None:
    (folder / "a.png").symlink_to("/dev/zero")
    with pytest.raises(UnreadableError, match="device"):
        read_picture(folder / "a.png")


def test_postscript_under_a_pictures_name_is_never_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    def never(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", never)
    Image.new("RGB", (64, 48)).save(folder / "a.png", "EPS")
    with pytest.raises(UnreadableError, match="PostScript"):
        read_picture(folder / "a.png")
