"""`captions import` shows which caption goes where, overwrites nothing unasked, and can be taken back."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from ..conftest import Place
from ..test_dry_run import tree


def answers(place: Place, names: list[str], text: str = "paperworld. a house number {} stands in a field.") -> Path:
    path = place.path / "answers.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index, name in enumerate(names):
            archive.writestr(name, text.format(index))
    return path


def captions(place: Place) -> list[str]:
    return [file.read_text() for file in sorted((place.path / "pictures").glob("*.txt"))]


def test_the_zip_of_a_chat_that_counts_from_one_is_renumbered_before_the_eyes(place: Place) -> None:
    before = captions(place)
    answers(place, [f"captions/{number}.txt" for number in range(1, 19)])
    shown = tree(place.path)
    done = place.wan22lora("captions", "import", "answers.zip", "pictures")
    assert done.exit_code == 2
    assert "18 captions matched by order: the numbers are shifted by 1." in done.stdout
    assert "  captions/10.txt  →  09.txt\n" in done.stdout
    assert "18 captions: 18 changed" in done.stdout
    assert "wan22lora captions import answers.zip pictures --yes" in done.stderr
    assert tree(place.path) == shown
    assert place.wan22lora("captions", "import", "answers.zip", "pictures", "--yes").exit_code == 0
    assert captions(place)[9] == "paperworld. a house number 9 stands in a field.\n"
    assert place.wan22lora("captions", "undo", "pictures").exit_code == 0
    assert captions(place) == before


def test_what_is_no_caption_is_left_out_by_name(place: Place) -> None:
    answers(place, ["03.txt", "../04.txt", "05.png"], "I'm sorry, I can't help with that.")
    done = place.wan22lora("captions", "import", "answers.zip", "pictures", "--yes")
    assert done.exit_code == 3
    for said in (
        "03.txt is a refusal",
        "../04.txt",
        "leads out of the archive",
        "05.png",
        "no text in it is a caption",
    ):
        assert said in done.stderr


@pytest.mark.parametrize("name", ["nothing.zip", "pictures/00.png"])
def test_what_holds_no_captions_is_told(place: Place, name: str) -> None:
    done = place.wan22lora("captions", "import", name, "pictures")
    assert done.exit_code == 3
    assert done.stderr.startswith("There are no captions to take over.")
