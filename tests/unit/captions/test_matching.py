"""Every answer finds its picture, by name or by order, and none a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.captions.answer import Answer
from wan22lora.captions.matching import How, Matching, how_named, in_counting_order, match
from wan22lora.captions.place import Medium
from wan22lora.errors import SpecError


def medium(name: str, folder: str = "/pictures") -> Medium:
    path = Path(folder) / name
    return Medium(path, "images", path.with_suffix(".txt"))


def matched(
    pictures: Sequence[str], answers: Sequence[str], how: How | None = None, lacking: Sequence[str] = ()
) -> Matching:
    return match(
        [medium(name) for name in pictures],
        [Answer(name, f"caption of {name}") for name in answers],
        how,
        lacking=[medium(name) for name in lacking],
    )


def pairs(matching: Matching) -> dict[str, str]:
    return {medium.path.name: answer.name for medium, answer in matching.pairs}


NAME = st.text("abcXY 0123456789_-.é", min_size=1, max_size=8).filter(lambda name: name[0] != ".")
STEMS = st.lists(NAME, min_size=1, max_size=8, unique=True)


@given(STEMS, st.randoms(use_true_random=False))
def test_answers_under_the_pictures_own_names_are_matched_by_them(stems: list[str], chance: object) -> None:
    pictures = [f"{stem}.png" for stem in stems]
    answers = sorted((f"{stem}.txt" for stem in stems), reverse=True)
    found = matched(pictures, answers)
    assert found.how == "name"
    assert pairs(found) == {f"{stem}.png": f"{stem}.txt" for stem in stems}
    assert not found.renumbered


@given(st.integers(2, 30), st.integers(-3, 3), st.integers(0, 40))
def test_a_shifted_numbering_is_put_right(count: int, shift: int, start: int) -> None:
    start += 3
    pictures = [f"{number:02d}.png" for number in range(start, start + count)]
    answers = [f"{number + shift:02d}.txt" for number in range(start, start + count)]
    found = matched(pictures, answers)
    assert pairs(found) == dict(zip(pictures, answers, strict=True))
    assert found.how == ("order" if shift else "name")


@given(st.integers(1, 30))
def test_other_names_go_by_the_numbers_in_them(count: int) -> None:
    pictures = [f"holiday-{number}.png" for number in range(1, count + 1)]
    answers = [f"Image {number}.txt" for number in range(1, count + 1)]
    found = matched(pictures, answers)
    assert found.how == "order"
    assert pairs(found) == dict(zip(pictures, answers, strict=True))


@given(STEMS, STEMS, st.none() | st.sampled_from(["name", "order"]))
def test_nothing_is_used_twice_and_nothing_forgotten(pictures: list[str], answers: list[str], how: How | None) -> None:
    found = matched([f"{stem}.png" for stem in pictures], [f"{stem}.txt" for stem in answers], how)
    used = [answer.name for _, answer in found.pairs]
    served = [medium.path.name for medium, _ in found.pairs]
    assert len(set(used)) == len(used)
    assert len(set(served)) == len(served)
    assert sorted([*used, *(answer.name for answer in found.left_answers)]) == sorted(f"{stem}.txt" for stem in answers)
    assert sorted([*served, *(left.path.name for left in found.left_media)]) == sorted(
        f"{stem}.png" for stem in pictures
    )


@pytest.mark.parametrize(
    ("picture", "answer"),
    [
        ("01.png", "captions/01.txt"),
        ("01.png", "01.png.txt"),
        ("01.png", "01.md"),
        ("Photo 1.JPG", "photo_1.txt"),
        ("Caf\u00e9.png", "Cafe\u0301.txt"),
        ("01.png", "a\\b\\01.txt"),
        ("v1.2.png", "v1.2.txt"),
    ],
)
def test_names_may_be_written_otherwise(picture: str, answer: str) -> None:
    found = matched([picture, "zzz.png"], [answer])
    assert found.how == "name"
    assert pairs(found) == {picture: answer}


def test_two_answers_of_one_name_are_left() -> None:
    found = matched(["01.png", "02.png"], ["a/01.txt", "b/01.txt", "02.txt"])
    assert pairs(found) == {"02.png": "02.txt"}
    assert len(found.left_answers) == 2


def test_names_that_fit_in_part_are_doubtful() -> None:
    found = matched(["01.png", "02.png", "03.png"], ["00.txt", "01.txt"])
    assert found.how == "name"
    assert found.doubtful
    assert not matched(["01.png", "02.png"], ["01.txt"]).doubtful


def test_as_many_answers_as_captions_are_missing_are_meant_for_those() -> None:
    pictures = [f"{number}.png" for number in range(1, 6)]
    found = matched(pictures, ["first.txt", "second.txt"], lacking=["4.png", "5.png"])
    assert pairs(found) == {"4.png": "first.txt", "5.png": "second.txt"}


def test_answers_that_fit_nowhere_are_not_guessed() -> None:
    found = matched(["1.png", "2.png", "3.png"], ["x.txt", "y.txt"])
    assert found.pairs == ()
    asked = matched(["1.png", "2.png", "3.png"], ["x.txt", "y.txt"], "order")
    assert pairs(asked) == {"1.png": "x.txt", "2.png": "y.txt"}


def test_the_folder_tells_equal_names_apart() -> None:
    media = [medium("01.png", "/data/cats"), medium("01.png", "/data/dogs")]
    answers = [Answer("dogs/01.txt", "dog"), Answer("cats/01.txt", "cat")]
    found = match(media, answers)
    assert [(medium.path.parent.name, answer.text) for medium, answer in found.pairs] == [
        ("cats", "cat"),
        ("dogs", "dog"),
    ]


def test_numbers_sort_as_people_count() -> None:
    names = ["10.txt", "2.txt", "1.txt", "b2", "b10", "a"]
    assert sorted(names, key=in_counting_order) == ["1.txt", "2.txt", "10.txt", "a", "b2", "b10"]


def test_a_way_that_is_none_is_told() -> None:
    assert [how_named(name) for name in (None, "name", "order")] == [None, "name", "order"]
    with pytest.raises(SpecError, match="name or order"):
        how_named("number")
