"""What lies beside the pictures and is not trained."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from wan22lora.check.folders import list_folder
from wan22lora.dataset.source import Source

from ..conftest import as_nobody
from .conftest import Said


def test_leftovers_of_zips_are_advice(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, folder: Path
) -> None:
    picture("a.png")
    (folder / "__MACOSX").mkdir()
    for name in (".DS_Store", "Thumbs.db", "._a.png"):
        (folder / name).write_bytes(b"")
    remark = said(images())["leftovers"]
    assert (remark.level, set(remark.files)) == ("note", {"__MACOSX", ".DS_Store", "Thumbs.db", "._a.png"})
    assert "hidden" not in said(images())


def test_a_hidden_picture_is_a_warning(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, folder: Path
) -> None:
    picture("a.png")
    picture("b.png").rename(folder / ".b.png")
    (folder / "b.txt").unlink()
    assert said(images())["hidden"].files == (".b.png",)


def test_pictures_in_subfolders_are_a_warning(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said
) -> None:
    picture("a.png")
    picture("more/b.png")
    picture("more/c.png")
    assert said(images())["subfolders"].files == ("more (2 pictures)",)


def test_a_caption_of_nothing_is_a_warning_but_not_that_of_a_clip(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, folder: Path
) -> None:
    picture("a.png")
    (folder / "b.txt").write_text("zxq", encoding="utf-8")
    (folder / "c.mp4").write_bytes(b"")
    (folder / "c.txt").write_text("zxq", encoding="utf-8")
    assert said(images())["caption-alone"].files == ("b.txt",)


def test_a_folder_whose_entries_nobody_may_look_at_is_listed_all_the_same(images: Callable[..., Source]) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        closed = Path(name) / "pictures"
        (closed / "sub").mkdir(parents=True)
        closed.chmod(0o444)
        with as_nobody():
            listing = list_folder(images(directory=closed))
        closed.chmod(0o755)
    assert (listing.names, listing.inside) == (("sub",), ())
