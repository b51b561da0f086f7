"""A run with several folders is one thing: changed together, taken back together, its equal names told apart."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from ..conftest import Place
from .vision_server import vision


@pytest.fixture
def two(place: Place) -> Place:
    """Two folders with three pictures each, of the same names, and a list."""
    for name, first in (("cats", 0), ("dogs", 5)):
        folder = place.path / name
        folder.mkdir()
        for index in range(3):
            shutil.copy(place.path / "pictures" / f"{first + index:02d}.png", folder / f"{index}.png")
            (folder / f"{index}.caption").write_text(f"{name} number {index}\n")
    place.write(
        "name: pets\npreset: character\ntrigger: zxq\ndata: {caption_extension: .caption}\n"
        "datasets:\n  - images: cats\n  - images: dogs\n  - image_jsonl: list.jsonl\n"
    )
    (place.path / "list.jsonl").write_text("")
    return place


def captions(place: Place) -> dict[str, str]:
    files = sorted(file for name in ("cats", "dogs") for file in (place.path / name).glob("*.caption"))
    return {f"{file.parent.name}/{file.stem}": file.read_text() for file in files}


def test_one_command_over_both_is_one_step_back(two: Place) -> None:
    before = captions(two)
    done = two.wan22lora("captions", "apply", "run.yaml", "--yes")
    assert done.exit_code == 0, done.output
    assert "dogs/2.caption" in done.stdout
    assert "list.jsonl: the captions of a JSONL file are lines of it" in " ".join(done.stderr.split())
    assert captions(two) == {name: f"zxq, {text}" for name, text in before.items()}
    assert two.wan22lora("captions", "replace", "run.yaml", "dogs", "hounds", "--yes").exit_code == 0
    assert captions(two)["dogs/1"] == "zxq, hounds number 1\n"
    for expected in ("zxq, dogs number 1\n", "dogs number 1\n"):
        assert two.wan22lora("captions", "undo", "run.yaml").exit_code == 0
        assert captions(two)["dogs/1"] == expected
    assert captions(two) == before


def test_the_folder_in_the_zip_tells_equal_names_apart(two: Place) -> None:
    with zipfile.ZipFile(two.path / "answers.zip", "w") as archive:
        for name in ("dogs", "cats"):
            for index in range(3):
                archive.writestr(f"answers/{name}/{index}.txt", f"a photo of {name}, {index}")
    done = two.wan22lora("captions", "import", "answers.zip", "run.yaml", "--yes")
    assert done.exit_code == 0, done.output
    assert captions(two) == {f"{n}/{i}": f"a photo of {n}, {i}\n" for n in ("cats", "dogs") for i in range(3)}


def test_a_review_of_both_comes_back_to_both(two: Place) -> None:
    for file in (*(two.path / "cats").glob("*.caption"), *(two.path / "dogs").glob("*.caption")):
        file.unlink()
    with vision() as model:
        done = two.wan22lora(
            "captions", "write", "run.yaml", "--endpoint", model.url, "--model", "llava", "--yes", "--review", "all.txt"
        )
        assert done.exit_code == 0, done.output
        assert "The character" in model.told(0) or "the same character" in model.told(0)
    assert "## dogs/2.png\nzxq, a plain picture with 7 parts of red\n" in (two.path / "all.txt").read_text()
    done = two.wan22lora("captions", "import", "all.txt", "run.yaml", "--yes")
    assert done.exit_code == 0, done.output
    red = {"cats": 0, "dogs": 5}
    assert captions(two) == {
        f"{name}/{index}": f"zxq, a plain picture with {first + index} parts of red\n"
        for name, first in red.items()
        for index in range(3)
    }


@pytest.mark.parametrize("folder", ["cats", "dogs"])
def test_one_of_its_folders_can_be_named_alone(two: Place, folder: str) -> None:
    done = two.wan22lora("captions", "find", folder, "number", "--extension", ".caption")
    assert done.stdout.endswith("3 of 3 captions\n")
    assert Path(two.path, "run.yaml").exists()


def test_a_folder_that_is_named_twice_is_changed_once(two: Place) -> None:
    before = captions(two)
    (two.path / "pets").symlink_to("cats")
    two.write(
        "name: pets\npreset: character\ntrigger: zxq\ndata: {caption_extension: .caption}\n"
        "datasets:\n  - images: cats\n  - {images: pets, resolution: [512, 512]}\n"
    )
    done = two.wan22lora("captions", "apply", "run.yaml", "--yes")
    assert done.exit_code == 0, done.output
    assert "3 captions: 3 changed" in done.stdout
    assert two.wan22lora("captions", "undo", "run.yaml").exit_code == 0
    assert captions(two) == before


def test_what_cannot_be_made_again_is_said_before(two: Place) -> None:
    for words in (("cats", "lions"), ("lions", "tigers")):
        assert two.wan22lora("captions", "replace", "run.yaml", *words, "--yes").exit_code == 0
    assert two.wan22lora("captions", "undo", "run.yaml").exit_code == 0
    done = two.wan22lora("captions", "apply", "run.yaml", "--dry-run")
    assert "`captions redo` cannot make `wan22lora captions replace run.yaml lions tigers --yes` again" in done.stderr
