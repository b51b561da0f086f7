"""`captions write` against a real server: what it answers becomes captions, what it does wrong never does."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ..conftest import Finished, Place
from ..test_dry_run import tree
from .vision_server import Vision, vision


@pytest.fixture
def model() -> Iterator[Vision]:
    with vision() as served:
        yield served


@pytest.fixture
def bare(place: Place) -> Place:
    """The usual place with six pictures, of 0 to 5 parts of red, and no captions."""
    for file in (place.path / "pictures").iterdir():
        if file.suffix == ".txt" or int(file.stem) > 5:
            file.unlink()
    return place


def write(place: Place, model: Vision, *more: str, where: str = "pictures") -> Finished:
    options = ["--endpoint", model.url, "--model", "llava", "--kind", "style", "--yes", *more]
    return place.wan22lora("captions", "write", where, *options)


def captions(place: Place) -> dict[str, str]:
    return {file.stem: file.read_text() for file in sorted((place.path / "pictures").glob("*.txt"))}


def colours(*numbers: int, opening: str = "") -> dict[str, str]:
    return {f"{number:02d}": f"{opening}a plain picture with {number} parts of red\n" for number in numbers}


def test_every_picture_gets_the_caption_that_the_model_gave_for_it(bare: Place, model: Vision) -> None:
    done = write(bare, model, "--trigger", "zxq")
    assert done.exit_code == 0, done.output
    assert captions(bare) == colours(*range(6), opening="zxq, ")
    assert "6 captions written. `wan22lora captions undo pictures` takes them back." in done.stdout
    assert "600 tokens in and 60 out" in done.stdout
    assert "exactly these words:\n    zxq\n" in model.told(0)
    assert bare.wan22lora("captions", "undo", "pictures").exit_code == 0
    assert captions(bare) == {}


def test_what_has_a_caption_is_not_asked_about(bare: Place, model: Vision) -> None:
    (bare.path / "pictures" / "02.txt").write_text("my own words")
    (bare.path / "pictures" / "03.txt").write_text(" \n")
    done = write(bare, model)
    assert done.exit_code == 0, done.output
    assert captions(bare) == {**colours(0, 1, 3, 4, 5), "02": "my own words"}
    assert len(model.asked) == 5
    assert "has a caption" in write(bare, model).stdout
    assert len(model.asked) == 5
    assert write(bare, model, "--again").exit_code == 0
    assert captions(bare) == colours(*range(6))


WRONG = {
    "refusal": "the answer is a refusal, not a caption: `I'm sorry",
    "refusal apart": "was refused by the model: I'm sorry",
    "say:": "the answer is empty",
    "say:" + "and so on and on " * 400: "the answer has 6,799 characters",
    "say:" + "and so on and on " * 20: "the answer repeats itself",
    "say:<html><body>502 Bad Gateway</body></html>": "the answer is a web page",
    'say:{"error": "out of memory"}': "the answer is an error message",
    "html": "the answer is a web page",
    "half a JSON": "cannot be read",
    "no choices": "without a message",
    "null": "without a message",
    "filter": "content filter",
    "cut off": "cut off",
    "400": "was answered with an error (400: error 400 of the server)",
    "500": "was answered with an error (500: error 500 of the server), tried 2 times",
    "429": "was answered with an error (429: error 429 of the server), tried 2 times",
    "close": "no connection to",
    "hang": "had no answer within 1 s, tried 2 times",
}


@pytest.mark.parametrize("part", [slice(0, 9), slice(9, 18)])
def test_what_is_no_caption_is_told_and_asked_again_the_next_time(place: Place, model: Vision, part: slice) -> None:
    for file in (place.path / "pictures").glob("*.txt"):
        file.unlink()
    wrong = dict(zip(range(1, 18, 2), list(WRONG.items())[part], strict=True))
    behaviours = {f"a plain picture with {number} parts of red": behaviour for number, (behaviour, _) in wrong.items()}
    model.behaviour = lambda _, seen: behaviours.get(seen, "answer")
    done = write(place, model, "--retries", "1", "--timeout", "1")
    assert done.exit_code == 3, done.output
    assert "9 captions could not be written" in done.stderr
    told = dict(line.split(": ", 1) for line in done.stderr.splitlines() if line[2:7] == ".png:")
    for number, (behaviour, said) in wrong.items():
        assert said in told[f"{number:02d}.png"], behaviour
    assert "Traceback" not in done.output
    assert captions(place) == colours(*range(0, 18, 2))
    model.behaviour = lambda *_: "answer"
    assert write(place, model).exit_code == 0
    assert captions(place) == colours(*range(18))


def test_passing_troubles_are_waited_for(bare: Place, model: Vision) -> None:
    troubles = {1: "429", 2: "500", 4: "503", 6: "close", 8: "hang"}
    model.behaviour = lambda count, _: troubles.get(count, "answer")
    done = write(bare, model, "--timeout", "1")
    assert done.exit_code == 0, done.output
    assert captions(bare) == colours(*range(6))
    assert len(model.asked) == 11


def test_after_three_troubles_in_a_row_it_stops_and_later_goes_on(bare: Place, model: Vision) -> None:
    model.behaviour = lambda count, _: "answer" if count < 2 else "500"
    done = write(bare, model, "--retries", "0", "--at-once", "1")
    assert done.exit_code == 4
    assert "(3 in a row)" in done.stderr
    assert captions(bare) == {}
    asked = len(model.asked)
    model.behaviour = lambda *_: "answer"
    done = write(bare, model)
    assert done.exit_code == 0, done.output
    assert "2 were answered before" in done.stdout
    assert len(model.asked) == asked + 4
    assert captions(bare) == colours(*range(6))


def test_a_wrong_key_model_or_address_stops_at_once(bare: Place, model: Vision) -> None:
    model.key = "secret-word"
    done = write(bare, model)
    assert (done.exit_code, len(model.asked)) == (4, 0)
    assert "export OPENAI_API_KEY" in done.stderr
    done = bare.wan22lora(
        "captions", "write", "pictures", "--endpoint", model.url, "--model", "x", "--kind", "style", "--yes",
        "--key-env", "MY_KEY", env={"MY_KEY": "other-word"},
    )  # fmt: skip
    assert done.exit_code == 4
    assert "other-word" not in done.output
    done = write(bare, model, "--key-env", "MY_KEY")
    assert (done.exit_code, "MY_KEY is not set" in done.stderr) == (2, True)
    model.key = ""
    model.behaviour = lambda *_: "404"
    done = write(bare, model)
    assert done.exit_code == 4
    assert "it offers llava, qwen3-vl" in done.stderr
    assert len(model.asked) == 1


def test_a_key_is_sent_and_never_shown(bare: Place, model: Vision) -> None:
    model.key = "secret-word"
    options = ["--endpoint", model.url.removesuffix("/v1"), "--model", "llava", "--kind", "person", "--yes"]
    done = bare.wan22lora("captions", "write", "run.yaml", *options, env={"OPENAI_API_KEY": "secret-word"})
    assert done.exit_code == 0, done.output
    assert "secret-word" not in done.output
    for file in bare.path.rglob("*"):
        assert not file.is_file() or b"secret-word" not in file.read_bytes()


def test_nobody_listening_is_told(bare: Place, model: Vision) -> None:
    done = bare.wan22lora(
        "captions", "write", "pictures", "--endpoint", "http://127.0.0.1:9", "--model", "x", "--kind", "style", "--yes",
        "--retries", "0",
    )  # fmt: skip
    assert done.exit_code == 4
    assert "no connection to http://127.0.0.1:9/v1" in done.stderr
    assert "Start the server" in done.stderr


def test_killed_in_the_middle_it_goes_on_with_the_others(bare: Place, model: Vision) -> None:
    model.behaviour = lambda *_: "slow"
    argv = ["captions", "write", "pictures", "--endpoint", model.url, "--model", "llava", "--kind", "style", "--yes"]
    process = bare.start(*argv, "--at-once", "1")
    until = time.monotonic() + 30
    while len(model.asked) < 4 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert captions(bare) == {}
    kept = bare.path / "pictures" / ".wan22lora-captions" / "answers.jsonl"
    with kept.open("ab") as file:
        file.write(b'\n{"key": "half')
    asked = len(model.asked)
    done = write(bare, model)
    assert done.exit_code == 0, done.output
    assert captions(bare) == colours(*range(6))
    assert len(model.asked) == asked + 3
    assert not kept.exists()


def test_ctrl_c_keeps_the_answers_and_says_how_to_go_on(bare: Place, model: Vision) -> None:
    model.behaviour = lambda *_: "slow"
    argv = ["captions", "write", "pictures", "--endpoint", model.url, "--model", "llava", "--kind", "style", "--yes"]
    process = bare.start(*argv, "--at-once", "1")
    until = time.monotonic() + 30
    while len(model.asked) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "2 answers kept, nothing written" in said
    assert "(goes on)" in said
    assert "Traceback" not in said


def test_several_are_asked_at_once(place: Place, model: Vision) -> None:
    for file in (place.path / "pictures").glob("*.txt"):
        file.unlink()
    # The first goes alone; of the others no four are answered before they are all there.
    model.gathering = threading.Barrier(4)
    model.behaviour = lambda count, _: "gather" if 1 <= count <= 16 else "answer"
    done = write(place, model)
    assert done.exit_code == 0, done.output
    assert captions(place) == colours(*range(18))
    assert model.most == 4


@pytest.mark.parametrize("at_once", [1, 6])
def test_no_more_are_asked_at_once_than_was_said(place: Place, model: Vision, at_once: int) -> None:
    for file in (place.path / "pictures").glob("*.txt"):
        file.unlink()
    model.behaviour = lambda *_: "slow"
    assert write(place, model, "--at-once", str(at_once)).exit_code == 0
    assert model.most <= at_once
    assert len(model.asked) == 18


def test_ctrl_c_among_several_keeps_what_has_arrived_and_waits_for_nothing(bare: Place, model: Vision) -> None:
    model.behaviour = lambda _, seen: "hang" if "4 parts" in seen or "2 parts" in seen else "answer"
    argv = ["captions", "write", "pictures", "--endpoint", model.url, "--model", "llava", "--kind", "style", "--yes"]
    process = bare.start(*argv)
    kept = bare.path / "pictures" / ".wan22lora-captions" / "answers.jsonl"
    until = time.monotonic() + 30
    while not (kept.exists() and kept.read_text().count('"key"') == 4) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "4 answers kept, nothing written" in said
    assert "Traceback" not in said
    asked = len(model.asked)
    model.behaviour = lambda *_: "answer"
    assert write(bare, model).exit_code == 0
    assert len(model.asked) == asked + 2
    assert captions(bare) == colours(*range(6))


def test_a_refusal_of_too_many_makes_all_wait_as_long_as_it_says(bare: Place, model: Vision) -> None:
    model.behaviour = lambda count, _: "wait:1.5" if count in (1, 2, 3, 4) else "answer"
    done = write(bare, model, "--retries", "1")
    assert done.exit_code == 0, done.output
    assert captions(bare) == colours(*range(6))
    assert model.arrived[5] - model.arrived[4] > 1.4
    assert len(model.asked) == 10


def test_an_endpoint_that_wants_to_be_asked_much_later_is_not_waited_for(bare: Place, model: Vision) -> None:
    model.behaviour = lambda count, _: "answer" if count < 2 else "wait:7200"
    done = write(bare, model)
    assert done.exit_code == 4
    assert "asks to wait 120 minutes" in " ".join(done.stderr.split())
    model.behaviour = lambda *_: "answer"
    assert "2 were answered before" in write(bare, model).stdout


def test_an_endpoint_that_stops_answering_is_not_asked_for_ever(place: Place, model: Vision) -> None:
    for file in (place.path / "pictures").glob("*.txt"):
        file.unlink()
    model.behaviour = lambda count, _: "answer" if count < 5 else "500"
    done = write(place, model, "--retries", "0")
    assert done.exit_code == 4
    assert "in a row)" in done.stderr
    assert len(model.asked) < 18
    assert captions(place) == {}
    model.behaviour = lambda *_: "answer"
    assert "5 were answered before" in write(place, model).stdout
    assert captions(place) == colours(*range(18))


def test_a_server_that_answers_one_at_a_time_is_asked_less(bare: Place, model: Vision) -> None:
    one = threading.Lock()

    def behaviour(_: int, seen: str) -> str:
        with one:
            time.sleep(0.5)
        return "answer"

    model.behaviour = behaviour
    done = write(bare, model, "--at-once", "5", "--timeout", "1.2")
    assert done.exit_code == 0, done.output
    assert captions(bare) == colours(*range(6))


def test_a_review_has_the_order_of_the_pictures(bare: Place, model: Vision) -> None:
    model.behaviour = lambda count, seen: "slow" if "2 parts" in seen else "500" if "4 parts" in seen else "answer"
    done = write(bare, model, "--review", "first.txt", "--retries", "0")
    assert done.exit_code == 3
    model.behaviour = lambda *_: "answer"
    asked = len(model.asked)
    assert write(bare, model, "--review", "second.txt").exit_code == 0
    assert len(model.asked) == asked + 1
    lines = (bare.path / "second.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("## ")] == [f"## {number:02d}.png" for number in range(6)]


def test_a_review_names_pictures_of_any_name(bare: Place, model: Vision) -> None:
    names = {"line\nbreak": 1, "bad\udcff": 2, "שלום": 3, "a\x1b[31mred": 4}
    for name, number in names.items():
        Image.new("RGB", (64, 64), (number * 10, 90, 40)).save(bare.path / "pictures" / f"{name}.png")
        (bare.path / "pictures" / f"{number:02d}.png").unlink()
    done = write(bare, model, "--review", "review.txt")
    assert done.exit_code == 0, done.output
    done = bare.wan22lora("captions", "import", "review.txt", "pictures", "--yes")
    assert done.exit_code == 0, done.output
    every = {**{f"{number:02d}": number for number in (0, 5)}, **names}
    expected = {name: f"a plain picture with {number} parts of red\n" for name, number in every.items()}
    assert captions(bare) == expected


def test_a_review_that_is_there_is_never_overwritten(bare: Place, model: Vision) -> None:
    (bare.path / "review.txt").write_text("an evening's work")
    done = write(bare, model, "--review", "review.txt")
    assert done.exit_code == 2
    assert "left as it is" in done.stderr
    assert (bare.path / "review.txt").read_text() == "an evening's work"
    assert model.asked == []


def test_what_somebody_writes_meanwhile_is_left(bare: Place, model: Vision) -> None:
    def behaviour(_: int, seen: str) -> str:
        if "3 parts" in seen:
            (bare.path / "pictures" / "01.txt").write_text("my own words")
        return "answer"

    model.behaviour = behaviour
    done = write(bare, model)
    assert done.exit_code == 0, done.output
    assert captions(bare) == {**colours(0, 2, 3, 4, 5), "01": "my own words"}
    assert "captioned by somebody else meanwhile and left as they are: 01.txt" in " ".join(done.stderr.split())


def test_a_review_is_edited_and_then_taken_over(bare: Place, model: Vision) -> None:
    done = write(bare, model, "--review", "review.txt")
    assert done.exit_code == 0, done.output
    assert captions(bare) == {}
    review = bare.path / "review.txt"
    text = review.read_text()
    assert "wan22lora captions import review.txt pictures" in text
    review.write_text(text.replace("a plain picture with 3 parts", "a lovely picture with three parts"))
    done = bare.wan22lora("captions", "import", "review.txt", "pictures", "--yes")
    assert done.exit_code == 0, done.output
    expected = {**colours(*range(6)), "03": "a lovely picture with three parts of red\n"}
    assert captions(bare) == expected


def test_clips_are_seen_as_four_small_frames(place: Place, clips: Path, model: Vision) -> None:
    for file in clips.glob("*.txt"):
        file.unlink()
    done = write(place, model, where="clips")
    assert done.exit_code == 0, done.output
    assert len(model.seen(0)) == 4
    assert "These are 4 frames" in model.told(0)
    assert (clips / "a.txt").read_text().startswith("a plain picture with")  # how black a frame is, each PyAV decides


def test_large_pictures_are_sent_small_and_broken_ones_are_told(bare: Place, model: Vision) -> None:
    Image.new("RGB", (3000, 1500), (50, 0, 0)).save(bare.path / "pictures" / "05.png")
    (bare.path / "pictures" / "04.png").write_bytes(b"no picture")
    done = write(bare, model)
    assert done.exit_code == 3
    assert "04.png: cannot be read (not a picture that can be read)" in done.stderr
    assert captions(bare) == colours(0, 1, 2, 3, 5)
    assert model.seen(4)[0].size == (1024, 512)


def test_without_a_terminal_and_without_yes_nothing_is_asked(bare: Place, model: Vision) -> None:
    before = tree(bare.path)
    options = ["--endpoint", model.url, "--model", "llava", "--kind", "style"]
    done = bare.wan22lora("captions", "write", "pictures", *options)
    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert model.asked == []
    assert tree(bare.path) == before


def at_a_terminal(place: Place, model: Vision, answers: str, *more: str) -> str:
    """What `captions write` says to somebody who types these answers."""
    ours, theirs = pty.openpty()
    argv = ["captions", "write", "pictures", "--endpoint", model.url, "--model", "llava", "--kind", "style", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "wan22lora", *argv],
        cwd=place.path,
        env=place.environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.write(ours, answers.encode())
    said = process.communicate(timeout=60)[0].decode()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize(("answer", "count"), [("y\n", 6), ("n\n", 1)])
def test_the_first_caption_is_shown_before_the_others_are_asked_for(
    bare: Place, model: Vision, answer: str, count: int
) -> None:
    said = at_a_terminal(bare, model, answer)
    assert "00.png\n  + a plain picture with 0 parts of red\n" in said
    assert "Go on with the other 5?" in said
    assert len(model.asked) == count
    assert len(captions(bare)) == (6 if count == 6 else 0)


def test_captions_that_are_there_are_replaced_after_a_second_question_only(bare: Place, model: Vision) -> None:
    (bare.path / "pictures" / "02.txt").write_text("my own words\n")
    said = at_a_terminal(bare, model, "y\nn\n", "--again")
    assert "  - my own words\n" in said
    assert "Write this?" in said
    assert captions(bare) == {"02": "my own words\n"}
    at_a_terminal(bare, model, "y\n", "--again")
    assert len(model.asked) == 6
    assert captions(bare) == colours(*range(6))


def test_without_the_client_the_command_that_installs_it_is_named(bare: Place, model: Vision) -> None:
    (bare.path / "hidden").mkdir()
    (bare.path / "hidden" / "openai.py").write_text("raise ImportError('not installed')")
    path = f"{bare.path / 'hidden'}{os.pathsep}{bare.environment['PYTHONPATH']}"
    options = ["--endpoint", model.url, "--model", "llava", "--kind", "style", "--yes"]
    done = bare.wan22lora("captions", "write", "pictures", *options, env={"PYTHONPATH": path})
    assert done.exit_code == 4
    assert "pip install 'wan22lora[captions]'" in done.stderr


def test_an_address_that_is_none_is_told(bare: Place) -> None:
    done = bare.wan22lora("captions", "write", "pictures", "--endpoint", "localhost:11434", "--model", "x", "--yes")
    assert done.exit_code == 2
    assert "is no address" in done.stderr
