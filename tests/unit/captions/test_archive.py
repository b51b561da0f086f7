"""A zip is read without unpacking it; what is dangerous or no caption is left out by name."""

from __future__ import annotations

import io
import random
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wan22lora.captions.archive import read_answers
from wan22lora.captions.place import place_at
from wan22lora.captions.taking_over import take_over
from wan22lora.errors import DatasetError, Failure


def zipped(path: Path, files: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def read(path: Path, expected: int = 3) -> tuple[dict[str, str], str]:
    answers, findings = read_answers(path, expected=expected)
    return {answer.name: answer.text for answer in answers}, "\n".join(map(str, findings))


def test_what_leads_out_is_refused_by_name(tmp_path: Path) -> None:
    path = zipped(
        tmp_path / "a.zip",
        {"01.txt": "a", "../02.txt": "b", "/etc/03.txt": "c", "C:\\04.txt": "d", "x/../../05.txt": "e"},
    )
    found, said = read(path)
    assert found == {"01.txt": "a"}
    assert "4 files left out, because the name leads out of the archive" in said
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("02.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("01.txt", "a")
    found, said = read(path)
    assert found == {"01.txt": "a"}
    assert "because it is a link: 02.txt" in said


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"01.txt": b"a" * (40 << 20), "02.txt": "a dog"})
    found, said = read(path)
    assert found == {"02.txt": "a dog"}
    assert "too large for a caption: 01.txt" in said


def test_many_large_members_stop_it(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"{number}.txt": b"a" * (1 << 20) for number in range(70)})
    with pytest.raises(DatasetError, match="too large for captions"):
        read(path)


def test_encrypted_members_are_told(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"01.txt": "a", "02.txt": "b"})
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    path.write_bytes(bytes(content))
    found, said = read(path)
    assert found == {"02.txt": "b"}
    assert "encrypted" in said


def test_leftovers_and_folders_are_passed_over_and_pictures_are_named(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "captions/": "",
        "captions/01.txt": "a",
        "captions/02.md": "b",
        "__MACOSX/captions/._01.txt": "x",
        "captions/.DS_Store": "x",
        "captions/01.png": b"x",
        "captions/more.zip": b"x",
    }
    found, said = read(zipped(tmp_path / "a.zip", files))
    assert found == {"captions/01.txt": "a", "captions/02.md": "b"}
    assert "because only captions are taken over: 01.png" in said
    assert "of a kind that holds no caption: more.zip" in said
    assert "DS_Store" not in said


def test_a_damaged_member_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("01.txt", "first caption")
        archive.writestr("02.txt", "second caption")
    path.write_bytes(path.read_bytes().replace(b"first", b"fourt"))
    found, said = read(path)
    assert found == {"02.txt": "second caption"}
    assert "damaged" in said


def test_one_text_holds_all_in_a_zip_or_alone_and_a_folder_will_do(tmp_path: Path) -> None:
    text = "01.png: a cat\n02.png: a dog\n"
    assert read(zipped(tmp_path / "a.zip", {"captions.txt": text}))[0] == {"01.png": "a cat", "02.png": "a dog"}
    (tmp_path / "captions.md").write_text(text)
    assert read(tmp_path / "captions.md")[0] == {"01.png": "a cat", "02.png": "a dog"}
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / "01.txt").write_text("a cat")
    (folder / "02.txt").write_text("a dog")
    assert read(folder)[0] == {"01.txt": "a cat", "02.txt": "a dog"}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 30, b"no zip at all"])
def test_what_is_no_zip_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    place = place_at(dataset(tmp_path / "pictures", 1))
    with pytest.raises(DatasetError):
        take_over(path, place)
    with pytest.raises(DatasetError):
        read(tmp_path / "nothing.zip")


def dataset(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.new("RGB", (8, 8)).save(folder / f"{number:02d}.png")
    return folder


def test_a_refusal_is_not_taken_over_and_what_says_the_same_is_no_change(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "pictures", 3)
    (folder / "01.txt").write_text("a cat")
    path = zipped(
        tmp_path / "a.zip", {"01.txt": "a cat\r\n", "02.txt": "I'm sorry, I can't do that.", "03.txt": "a bird"}
    )
    taken = take_over(path, place_at(folder))
    assert [(change.file.name, change.new) for change in taken.changes] == [("03.txt", b"a bird\n")]
    said = "\n".join(map(str, taken.findings))
    assert "02.txt is a refusal" in said
    assert "still without a caption: 02.png" in said


@pytest.mark.parametrize("text", ["", "I'm sorry, I can't do that.", "<html></html>"])
def test_no_caption_moves_into_the_place_of_one_that_is_none(tmp_path: Path, text: str) -> None:
    place = place_at(dataset(tmp_path / "pictures", 4))
    path = zipped(
        tmp_path / "a.zip", {"Image 1.txt": "one", "Image 2.txt": text, "Image 3.txt": "three", "Image 4.txt": "four"}
    )
    taken = take_over(path, place)
    assert {change.file.name: change.new for change in taken.changes} == {
        "01.txt": b"one\n",
        "03.txt": b"three\n",
        "04.txt": b"four\n",
    }
    assert "Image 2.txt is" in str(taken.findings[0])
    assert "still without a caption: 02.png" in str(taken.findings[-1])


def test_captions_that_are_there_can_be_kept(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "pictures", 2)
    (folder / "01.txt").write_text("mine")
    path = zipped(tmp_path / "a.zip", {"01.txt": "a cat", "02.txt": "a dog"})
    assert [change.file.name for change in take_over(path, place_at(folder), only_missing=True).changes] == ["02.txt"]
    replaced = [change.file.name for change in take_over(path, place_at(folder)).changes if change.old is not None]
    assert replaced == ["01.txt"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=200, deadline=None)
@given(st.integers())
def test_no_damage_ends_in_a_traceback_or_outside(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance = random.Random(seed)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for number in range(chance.randrange(5)):
            name = chance.choice(
                [f"{number:02d}.txt", f"../{number}.txt", f"/{number}.txt", "a/" * 40 + "01.txt", "02.json"]
            )
            archive.writestr(
                name, chance.randbytes(chance.randrange(40)) if chance.random() < 0.5 else f"caption {number}"
            )
    content = bytearray(made.getvalue())
    for _ in range(chance.randrange(6)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    place = tmp_path_factory.mktemp("damage")
    folder = dataset(place / "pictures", 2)
    path = place / "answers.zip"
    path.write_bytes(bytes(content[: chance.randrange(len(content) + 1)] if chance.random() < 0.2 else content))
    try:
        taken = take_over(path, place_at(folder))
    except Failure:
        return
    assert {change.file.parent for change in taken.changes} <= {folder}
