"""What changes is shown with a few words around it, and nothing that a screen would obey."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from wan22lora.captions.journal import Change
from wan22lora.captions.show import changes_as_text, in_short, match_as_text

LONG = "a woman with long dark hair stands in a garden full of red roses, wearing a blue dress. full body shot."


def shown(*changes: tuple[str | None, str | None], every: bool = False) -> list[str]:
    made = [
        Change(
            Path(f"/pictures/{index}.txt"),
            None if old is None else old.encode("utf-8", "surrogatepass"),
            None if new is None else new.encode("utf-8", "surrogatepass"),
        )
        for index, (old, new) in enumerate(changes)
    ]
    return [line.plain for line in changes_as_text(made, lambda file: file.name, every=every)]


def test_a_changed_word_stands_among_its_neighbours() -> None:
    lines = shown((LONG, LONG.replace("red", "white")))
    assert lines == [
        "0.txt",
        "  - …stands in a garden full of red roses, wearing a blue dress.…",
        "  + …stands in a garden full of white roses, wearing a blue dress.…",
    ]


def test_new_removed_and_distant_changes() -> None:
    assert shown((None, "a cat\n")) == ["0.txt (new)", "  + a cat"]
    assert shown(("a cat\n", None)) == ["0.txt (removed)", "  - a cat"]
    assert len(shown((LONG, LONG.replace("woman", "man").replace("body", "figure")))) == 5
    assert shown(("a", "a\n")) == ["0.txt", "  (white space at its ends)"]


def test_twenty_files_are_enough_unless_all_are_asked_for() -> None:
    many = [("a", "b")] * 23
    assert shown(*many)[-1] == "… and 3 more (all with --all)"
    assert len(shown(*many)) == 61
    assert len(shown(*many, every=True)) == 69


def test_the_sum_says_what_kind_of_changes() -> None:
    file = Path("/a.txt")
    changes = [Change(file, None, b"a"), Change(file, b"a", b"b"), Change(file, b"a", None)]
    assert in_short(changes) == "3 captions: 1 new, 1 changed, 1 removed"
    assert in_short(changes[:1]) == "1 caption: 1 new"


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_control_character_reaches_the_screen(old: str, new: str) -> None:
    for line in shown((old, new)):
        assert line.isprintable()


def test_the_end_of_the_last_line_is_no_further_word() -> None:
    assert [line.plain for line in match_as_text("0.txt", "a cat\n", re.compile("cat"))] == ["0.txt", "  a cat"]
    long = "a plain picture with 8 parts of red\n"
    assert [line.plain for line in match_as_text("0.txt", long, re.compile("plain"))][1].endswith("of red")


def test_every_match_is_shown_with_its_words() -> None:
    lines = [line.plain for line in match_as_text("0.txt", LONG, re.compile("red|body"))]
    assert lines == [
        "0.txt",
        "  …stands in a garden full of red roses, wearing a blue dress.…",
        "  … wearing a blue dress. full body shot.",
    ]
