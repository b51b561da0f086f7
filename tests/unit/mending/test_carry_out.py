"""What is mended can be taken back, and an interruption anywhere loses nothing and is made good by the same command."""

from __future__ import annotations

import os
import shlex
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wan22lora.captions import changes
from wan22lora.captions.caption_file import put
from wan22lora.captions.changes import settle
from wan22lora.captions.history import step_back, take_back
from wan22lora.dataset.scan import scan
from wan22lora.dataset.source import Source
from wan22lora.errors import DatasetError, MachineError
from wan22lora.mending import carry_out as module
from wan22lora.mending.carry_out import carry_out
from wan22lora.mending.plan import Mending, in_words, mending_of

from ..check.conftest import drawn

Sources = Callable[..., Source]
UPRIGHT, LYING = (64, 96), (96, 64)


def rotated(folder: Path, name: str, seed: str = "") -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn(seed or name, LYING).save(folder / name, exif=exif)
    (folder / name).with_suffix(".txt").write_text(f"zxq, {name}", encoding="utf-8")
    return folder / name


def numbered(folder: Path) -> None:
    """Captions one number behind their pictures."""
    for number in range(1, 9):
        drawn(str(number), (64, 64)).save(folder / f"{number:02d}.png")
        (folder / f"{number - 1:02d}.txt").write_text(f"zxq, number {number}", encoding="utf-8")


def well_numbered(folder: Path) -> bool:
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.txt")}
    return texts == {f"{number:02d}.txt": f"zxq, number {number}" for number in range(1, 9)}


def found(*sources: Source) -> Mending:
    return mending_of([scan(source) for source in sources])


def mend(*sources: Source) -> list[str]:
    return list(carry_out(found(*sources), "wan22lora check --fix"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        width, height = picture.size
    return width, height


def test_rotated_pictures_are_turned_and_kept_beside(folder: Path, images: Sources) -> None:
    paths = [rotated(folder, name) for name in ("a.jpg", "b.png")]
    drawn("c", (64, 64)).save(folder / "c.png")
    paths[0].chmod(0o640)
    before = content(folder)
    assert found(images()).turns == tuple(paths)
    said = mend(images())
    assert [size(path) for path in paths] == [UPRIGHT, UPRIGHT]
    assert paths[0].stat().st_mode & 0o777 == 0o640
    assert content(folder.with_name("dataset-originals")) == {name: before[name] for name in ("a.jpg", "b.png")}
    untouched = before.keys() - {"a.jpg", "b.png"}
    assert {name: content(folder)[name] for name in untouched} == {name: before[name] for name in untouched}
    assert not found(images())
    (back,) = [line.removeprefix("To take it back: ") for line in said if line.startswith("To take it back")]
    for command in back.split(" && "):
        _, _, source, target = shlex.split(command)
        shutil.move(source, target)
    assert content(folder) == before


def test_shifted_captions_are_renamed_and_can_be_taken_back(folder: Path, images: Sources) -> None:
    numbered(folder)
    before = content(folder)
    said = mend(images())
    assert well_numbered(folder)
    assert "captions undo" in said[0]
    assert not found(images())
    step = step_back([folder])
    assert step is not None
    take_back(step)
    assert content(folder) == before


def test_it_is_told_before_it_is_done(folder: Path, images: Sources) -> None:
    numbered(folder)
    rotated(folder, "09.jpg")
    (folder / "09.txt").rename(folder / "08.txt")
    before = content(folder)
    words = "\n".join(in_words(found(images())))
    assert "1 picture of" in words
    assert "09.jpg" in words
    assert "08.txt → 09.txt" in words
    assert content(folder) == before


def test_many_are_told_in_short_with_the_beginnings_of_captions(folder: Path, images: Sources) -> None:
    many = Mending(tuple(Path(f"/p/{number}.jpg") for number in range(50)))
    assert list(in_words(many))[-1].endswith("4.jpg and 45 more")
    numbered(folder)
    (folder / "00.txt").write_text("zxq, " + "a long story " * 9, encoding="utf-8")
    first = list(in_words(found(images())))[1]
    assert first == "  00.txt → 01.txt  zxq, a long story a long story a long story a long…"


def test_sound_pictures_are_left_alone(folder: Path, images: Sources) -> None:
    drawn("a", (64, 64)).save(folder / "a.png")
    (folder / "a.txt").write_text("zxq", encoding="utf-8")
    assert not found(images())


def test_an_original_of_the_same_name_is_not_overwritten(folder: Path, images: Sources) -> None:
    first = rotated(folder, "a.jpg").read_bytes()
    mend(images())
    second = rotated(folder, "a.jpg", seed="another").read_bytes()
    mend(images())
    assert (folder.with_name("dataset-originals") / "a.jpg").read_bytes() == first
    assert (folder.with_name("dataset-originals-2") / "a.jpg").read_bytes() == second


def linked(folder: Path, name: str, target: str) -> Path:
    path = folder / name
    path.symlink_to(target)
    path.with_suffix(".txt").write_text("zxq", encoding="utf-8")
    return path


@pytest.fixture
def library(folder: Path) -> Path:
    """A folder beside the dataset's, with a picture that lies on its side."""
    there = folder.with_name("library")
    there.mkdir()
    rotated(there, "real.jpg")
    return there


def test_a_link_gives_its_place_to_an_upright_copy_and_comes_back(folder: Path, images: Sources, library: Path) -> None:
    before = content(library)
    links = [linked(folder, name, "../library/real.jpg") for name in ("a.jpg", "b.jpg")]
    rotated(folder, "c.jpg")
    words = "\n".join(in_words(found(images())))
    assert "2 links among them: an upright copy takes the link's place" in words
    assert "as it is, and the link itself is kept: a.jpg, b.jpg" in words
    said = mend(images())
    assert content(library) == before
    assert [size(path) for path in links] == [UPRIGHT, UPRIGHT]
    assert not any(path.is_symlink() for path in links)
    (back,) = [line.removeprefix("To take it back: ") for line in said if line.startswith("To take it back")]
    for command in back.split(" && "):
        _, _, source, target = shlex.split(command)
        shutil.move(source, target)
    assert [str(path.readlink()) for path in links] == ["../library/real.jpg"] * 2
    assert [size(path) for path in links] == [LYING, LYING]


def test_a_link_that_is_kept_already_is_not_kept_twice(
    folder: Path, images: Sources, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = linked(folder, "a.jpg", "../library/real.jpg")
    with monkeypatch.context() as patched:
        patched.setattr(module, "_replace", Countdown(0).before(None))
        with pytest.raises(Killed):
            mend(images())
    assert path.is_symlink()
    mend(images())
    assert size(path) == UPRIGHT
    assert sorted(each.name for each in folder.parent.glob("dataset-originals*")) == ["dataset-originals"]
    path.unlink()
    rotated(library, "other.jpg")
    linked(folder, "a.jpg", "../library/other.jpg")
    mend(images())
    assert (folder.with_name("dataset-originals-2") / "a.jpg").readlink() == Path("../library/other.jpg")


def test_a_link_to_a_picture_that_was_just_turned_is_left(folder: Path, images: Sources) -> None:
    rotated(folder, "a.jpg")
    path = linked(folder, "b.jpg", "a.jpg")
    assert mend(images())[0] == "b.jpg was left as it is: it is upright already."
    assert path.is_symlink()
    assert size(path) == UPRIGHT


def test_what_cannot_be_turned_is_named_and_stays(folder: Path, images: Sources) -> None:
    animated = folder / "a.webp"
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn("a", LYING).save(animated, exif=exif, save_all=True, append_images=[drawn("b", LYING)])
    animated.with_suffix(".txt").write_text("zxq", encoding="utf-8")
    before = content(folder)
    assert mend(images()) == ["a.webp was left as it is: it is animated."]
    assert content(folder) == before
    assert not folder.with_name("dataset-originals").exists()


class Killed(BaseException):
    """As if the power went."""


class Countdown:
    """Lets so many file operations pass and kills at the next."""

    def __init__(self, left: int) -> None:
        self.left = left

    def before(self, real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.left == 0:
                raise Killed
            self.left -= 1
            return real(*arguments, **options)

        return call


def killed_at(point: int, patch: pytest.MonkeyPatch, *sources: Source) -> bool:
    countdown = Countdown(point)
    with patch.context() as patched:
        for name in ("rename", "replace", "unlink", "mkdir"):
            patched.setattr(Path, name, countdown.before(getattr(Path, name)))
        patched.setattr(os, "fsync", countdown.before(os.fsync))
        try:
            mend(*sources)
        except Killed:
            return True
    return False


def test_killed_at_any_file_operation_nothing_is_lost_and_again_completes(
    folder: Path, images: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals = folder.with_name("dataset-originals")
    names = ("a.jpg", "b.png")
    before = {name: rotated(folder, name).read_bytes() for name in names}
    point = 0
    while killed_at(point, monkeypatch, images()):
        for name in names:
            kept = [place / name for place in (folder, originals) if (place / name).exists()]
            assert before[name] in [path.read_bytes() for path in kept]
            assert size(folder / name) in (UPRIGHT, LYING)
        mend(images())
        assert all(size(folder / name) == UPRIGHT for name in names)
        assert {name: (originals / name).read_bytes() for name in names} == before
        assert not folder.with_name("dataset-originals-2").exists()
        for name in names:
            (folder / name).write_bytes(before[name])
        shutil.rmtree(originals)
        point += 1
    assert point >= 10


def test_a_renaming_killed_in_the_middle_is_completed_before_anything_else(
    folder: Path, images: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    for point in range(9):
        shutil.rmtree(folder)
        folder.mkdir()
        numbered(folder)
        with monkeypatch.context() as patched:
            patched.setattr(changes, "put", Countdown(point).before(put))
            with pytest.raises(Killed):
                mend(images())
        assert settle([folder])
        assert well_numbered(folder)
        assert not found(images())


def test_captions_that_changed_meanwhile_are_not_renamed(folder: Path, images: Sources) -> None:
    numbered(folder)
    mending = found(images())
    (folder / "08.txt").write_text("zxq, somebody else's", encoding="utf-8")
    before = content(folder)
    with pytest.raises(DatasetError, match="meanwhile"):
        list(carry_out(mending, ""))
    assert content(folder) == before


def test_a_disk_that_refuses_is_named(folder: Path, images: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    path = rotated(folder, "a.jpg")
    before = path.read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", refuse)
    with pytest.raises(MachineError, match="No space left"):
        mend(images())
    assert path.read_bytes() == before


def test_captions_that_are_named_nearly_right_are_renamed(folder: Path, images: Sources) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    for name in (f"{composed}.png", "07.png", "IMG_1.JPG"):
        drawn(name, (64, 64)).save(folder / name)
    for name in (f"{apart}.txt", "07.png.txt", "img_1.txt", "alone.txt"):
        (folder / name).write_text(f"zxq, {name}", encoding="utf-8")
    before = content(folder)
    words = list(in_words(found(images())))
    assert f"  {apart}.txt → {composed}.txt (the accents in another form)  zxq, {apart}.txt" in words
    mend(images())
    assert {path.name for path in folder.glob("*.txt")} == {f"{composed}.txt", "07.txt", "IMG_1.txt", "alone.txt"}
    assert (folder / "07.txt").read_text() == "zxq, 07.png.txt"
    assert not found(images())
    step = step_back([folder])
    assert step is not None
    take_back(step)
    assert content(folder) == before


def test_captions_in_other_encodings_are_saved_as_utf8(folder: Path, images: Sources) -> None:
    encoded = {
        "bom": "zxq, Ä".encode("utf-8-sig"),
        "latin": "zxq, caf\xe9\r\nsecond line".encode("latin-1"),
        "wide": "zxq, 猫".encode("utf-16"),
        "plain": b"zxq, plain\r\n",
        "nothing": b"\x81\x8d\x8f",
    }
    for stem, text in encoded.items():
        drawn(stem, (64, 64)).save(folder / f"{stem}.png")
        (folder / f"{stem}.txt").write_bytes(text)
    before = content(folder)
    words = list(in_words(found(images())))
    assert words[0].endswith("would be saved as UTF-8 without a byte order mark:")
    assert words[1:] == ["  bom.txt  zxq, Ä", "  latin.txt  zxq, café second line", "  wide.txt  zxq, 猫"]
    said = mend(images())
    assert "3 captions saved as UTF-8. `wan22lora captions undo" in said[0]
    after = {stem: (folder / f"{stem}.txt").read_bytes() for stem in encoded}
    assert after == {
        "bom": "zxq, Ä".encode(),
        "latin": "zxq, café\r\nsecond line".encode(),
        "wide": "zxq, 猫".encode(),
        "plain": b"zxq, plain\r\n",
        "nothing": b"\x81\x8d\x8f",
    }
    step = step_back([folder])
    assert step is not None
    take_back(step)
    assert content(folder) == before


def test_what_was_turned_before_the_disk_filled_is_told(
    folder: Path, images: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg"):
        rotated(folder, name)
    real = module._write

    def fill(file: Path, content: bytes, like: Path) -> None:
        real(file, content, like)
        if like.name == "b.jpg":
            raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(module, "_write", fill)
    said = []
    lines = carry_out(found(images()), "wan22lora check --fix")
    said += [next(lines), next(lines)]
    with pytest.raises(MachineError, match="No space left"):
        next(lines)
    assert "1 picture turned upright" in said[0]
    assert said[1].startswith("To take it back: mv")
    assert [size(folder / name) for name in ("a.jpg", "b.jpg")] == [UPRIGHT, LYING]
    assert sorted(path.name for path in folder.with_name("dataset-originals").iterdir()) == ["a.jpg"]
    assert not list(folder.glob(".*"))
