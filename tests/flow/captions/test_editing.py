"""`captions apply|find|replace|undo|redo` on the command line: shown first, asked, killed, taken back."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ..conftest import Place
from ..test_dry_run import tree

KILLED_WHILE_WRITING = """
import os, pathlib, sys
real, left = pathlib.Path.replace, [int(sys.argv.pop(1))]
def replace(self, target):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), 9)
    return real(self, target)
pathlib.Path.replace = replace
from wan22lora.__main__ import main
main()
"""


def captions(place: Place) -> list[str]:
    return [file.read_text() for file in sorted((place.path / "pictures").glob("*.txt"))]


def test_what_is_shown_is_what_is_written_and_can_be_taken_back(place: Place) -> None:
    before = captions(place)
    done = place.wan22lora("captions", "replace", "pictures", "picture", "drawing", "--yes", "--all")
    assert done.exit_code == 0, done.output
    assert "  - paperworld, picture 17\n  + paperworld, drawing 17\n" in done.stdout
    assert "wan22lora captions undo pictures" in done.stdout
    assert captions(place) == [text.replace("picture", "drawing") for text in before]
    assert place.wan22lora("captions", "apply", "run.yaml", "--prefix", "collage", "--yes").exit_code == 0
    assert captions(place)[17] == "collage, paperworld, drawing 17\n"
    for expected in ("paperworld, drawing 17\n", "paperworld, picture 17\n"):
        assert place.wan22lora("captions", "undo", "pictures").exit_code == 0
        assert captions(place)[17] == expected
    assert "nothing to take back" in place.wan22lora("captions", "undo", "pictures").stdout
    assert place.wan22lora("captions", "redo", "pictures").exit_code == 0
    assert captions(place)[17] == "paperworld, drawing 17\n"


def test_a_run_lends_its_trigger_and_its_folders(place: Place) -> None:
    place.write("name: paper\npreset: style\nimages: pictures\ntrigger: zxq\n")
    done = place.wan22lora("captions", "apply", "run.yaml", "--yes")
    assert done.exit_code == 0, done.output
    assert captions(place)[3] == "zxq, paperworld, picture 3\n"
    assert "Nothing to change" in place.wan22lora("captions", "apply", "run.yaml", "--yes").stdout


def test_nothing_is_written_where_nobody_can_be_asked(place: Place) -> None:
    before = tree(place.path)
    done = place.wan22lora("captions", "replace", "pictures", "picture", "a big drawing")
    assert done.exit_code == 2
    assert "wan22lora captions replace pictures picture 'a big drawing' --yes" in done.stderr
    done = place.wan22lora("captions", "apply", "pictures", "--trigger", "zxq", "--dry-run")
    assert done.exit_code == 0
    assert "+ zxq, paperworld" in done.stdout
    assert tree(place.path) == before


@pytest.mark.parametrize(("answer", "text"), [("y\n", "paperworld, drawing 0\n"), ("n\n", "paperworld, picture 0\n")])
def test_a_terminal_is_asked(place: Place, answer: str, text: str) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "wan22lora", "captions", "replace", "pictures", "picture", "drawing"]
    process = subprocess.Popen(
        argv, cwd=place.path, env=place.environment, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    os.write(ours, answer.encode())
    said = process.communicate(timeout=60)[0].decode()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, said
    assert "Write this?" in said
    assert captions(place)[0] == text


@pytest.mark.parametrize(("terminal", "shown"), [(True, True), (False, False)])
def test_many_captions_are_counted_where_somebody_looks(place: Place, terminal: bool, shown: bool) -> None:
    folder = place.path / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.png").write_bytes(b"")
        (folder / f"{number}.txt").write_text("a cat\n", encoding="utf-8")
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "wan22lora", "captions", "replace", str(folder), "cat", "dog", "--yes"]
    environment = {**place.environment, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        argv, env=environment, stdout=subprocess.DEVNULL, stderr=theirs if terminal else subprocess.PIPE
    )
    os.close(theirs)
    told = process.stderr.read() if process.stderr is not None else read_all(ours)
    assert process.wait(timeout=60) == 0, told
    os.close(ours)
    assert (b"written" in told) is shown
    assert (b"/300" in told) is shown
    assert {file.read_text(encoding="utf-8") for file in folder.glob("*.txt")} == {"a dog\n"}


def read_all(terminal: int) -> bytes:
    """Until nobody writes any more, which a terminal tells as an error."""
    read = b""
    with suppress(OSError):
        while piece := os.read(terminal, 1 << 16):
            read += piece
    return read


@pytest.mark.parametrize("renames", [0, 1, 9, 19])
def test_a_command_killed_between_two_files_can_be_taken_back(place: Place, renames: int) -> None:
    before = captions(place)
    argv = ["captions", "replace", "pictures", "picture", "drawing", "--yes"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(renames), *argv],
        cwd=place.path,
        env=place.environment,
        capture_output=True,
        timeout=60,
    )
    assert killed.returncode == -9, killed.stderr
    done = place.wan22lora("captions", "undo", "pictures", "--dry-run")
    assert ("was interrupted in" in done.stderr) == (renames > 0)
    done = place.wan22lora("captions", "undo", "pictures")
    assert done.exit_code == 0, done.output
    assert ("Taken back." in done.stdout) == (renames > 0)
    assert captions(place) == before
    done = place.wan22lora("captions", "redo", "pictures")
    assert captions(place)[3] == ("paperworld, drawing 3\n" if renames else before[3]), done.output


def test_ctrl_c_while_captions_are_written_says_what_becomes_of_them(place: Place) -> None:
    argv = ["captions", "replace", "pictures", "picture", "drawing", "--yes"]
    stopped = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING.replace("9)", "2)"), "9", *argv],
        cwd=place.path,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "the next `wan22lora captions` command in the folder completes what was begun" in stopped.stderr
    done = place.wan22lora("captions", "find", "pictures", "drawing")
    assert place.wan22lora("captions", "apply", "pictures", "--prefix", "x", "--yes").exit_code == 0, done.output
    assert captions(place)[17] == "x, paperworld, drawing 17\n"


def test_an_undo_does_not_overwrite_later_words_unasked(place: Place) -> None:
    place.wan22lora("captions", "replace", "pictures", "picture", "drawing", "--yes")
    (place.path / "pictures" / "03.txt").write_text("my own words")
    done = place.wan22lora("captions", "undo", "pictures")
    assert done.exit_code == 3
    assert "03.txt" in done.stderr
    assert captions(place)[4] == "paperworld, drawing 4\n"
    done = place.wan22lora("captions", "undo", "pictures", "--yes")
    assert done.exit_code == 0
    assert "`captions redo`, typed twice, brings back what had been edited" in done.stdout
    assert captions(place)[3:5] == ["paperworld, picture 3\n", "paperworld, picture 4\n"]
    for words in ("paperworld, drawing 3\n", "my own words"):
        assert place.wan22lora("captions", "redo", "pictures").exit_code == 0
        assert captions(place)[3:5] == [words, "paperworld, drawing 4\n"]
    done = place.wan22lora("captions", "undo", "pictures", "--dry-run")
    assert "Edits by hand (20" in done.stdout
    assert done.stdout.endswith("1 caption: 1 changed\nNothing was written (--dry-run).\n")


def test_neither_check_nor_the_caches_mind_the_records(place: Place) -> None:
    before = place.wan22lora("check", "run.yaml").stdout
    assert place.wan22lora("train", "run.yaml", "--rehearse").exit_code == 0
    for words in (("picture", "drawing"), ("drawing", "picture")):
        assert place.wan22lora("captions", "replace", "pictures", *words, "--yes").exit_code == 0
    assert place.wan22lora("check", "run.yaml").stdout == before
    again = place.wan22lora("train", "run.yaml", "--rehearse", "--dry-run")
    assert again.stdout.count("fresh, would be skipped") == 4


def test_it_is_said_that_links_change_what_they_lead_to(place: Place) -> None:
    file = place.path / "pictures" / "03.txt"
    file.rename(place.path / "elsewhere.txt")
    file.symlink_to("../elsewhere.txt")
    done = place.wan22lora("captions", "replace", "pictures", "picture", "drawing", "--yes")
    assert "links; the files that they lead to are changed: 03.txt" in done.stderr
    assert (place.path / "elsewhere.txt").read_text() == "paperworld, drawing 3\n"
    assert place.wan22lora("captions", "undo", "pictures").exit_code == 0
    assert (place.path / "elsewhere.txt").read_text() == "paperworld, picture 3\n"


def test_matches_are_shown_with_their_words(place: Place) -> None:
    done = place.wan22lora("captions", "find", "pictures", r"picture 1\d", "--regex")
    assert done.exit_code == 0
    assert "17.txt\n  paperworld, picture 17\n" in done.stdout
    assert done.stdout.endswith("8 of 18 captions\n")


def test_captions_that_are_missing_or_not_utf8_are_named(place: Place) -> None:
    (place.path / "pictures" / "03.txt").unlink()
    (place.path / "pictures" / "04.txt").write_bytes(b"caf\xe9 picture")
    done = place.wan22lora("captions", "replace", "pictures", "picture", "drawing", "--yes")
    assert done.exit_code == 0
    assert "1 caption not there yet: 03.txt" in done.stderr
    assert "1 caption not in UTF-8 and left as they are: 04.txt" in done.stderr
    assert (place.path / "pictures" / "04.txt").read_bytes() == b"caf\xe9 picture"


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["find", "nowhere", "x"], 2, "does not exist"),
        (["replace", "pictures", "(", "x", "--regex"], 2, "no regular expression"),
        (["apply", "pictures"], 2, "needs a word"),
        (["find", "empty", "x"], 3, "no pictures or clips"),
        (["find", "jsonl.yaml", "x"], 2, "JSONL"),
        (["prompt", "--kind", "dog"], 2, "--kind cannot be dog"),
        (["undo", "pictures/00.png"], 2, "neither a folder nor a run.yaml"),
    ],
)
def test_mistakes_are_told(place: Place, argv: list[str], code: int, said: str) -> None:
    (place.path / "empty").mkdir()
    (place.path / "list.jsonl").write_text("{}")
    place.write("name: paper\npreset: style\ndatasets:\n  - image_jsonl: list.jsonl\n", "jsonl.yaml")
    done = place.wan22lora("captions", *argv)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_the_instruction_can_be_piped(place: Place) -> None:
    done = place.wan22lora("captions", "prompt", "--kind", "style", "--trigger", "zxq", "--style-tag", "oil painting")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert "    zxq, oil painting\n" in done.stdout


def test_the_screen_has_80_columns(place: Place) -> None:
    for index in (2, 5):
        (place.path / "pictures" / f"{index:02d}.txt").write_text("a very long caption with picture in it " * 20)
    said = place.wan22lora("captions", "replace", "pictures", "picture", "drawing", "--dry-run").stdout
    assert max(map(len, said.splitlines())) <= 80
    assert (Path(place.path) / "pictures" / "02.txt").read_text().count("picture") == 20
