"""What comes back is a caption, or said not to be one; from one text, every caption is taken by its name."""

from __future__ import annotations

import codecs
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.captions.answer import Answer, cleaned, problem_with
from wan22lora.captions.decoding import decoded
from wan22lora.captions.together import as_one_text, split


@pytest.mark.parametrize(
    "text",
    [
        "a cat",
        ' "a cat" ',
        "“a cat”",
        "Caption: a cat",
        "**Caption:** a cat",
        "<think>It is a cat.\nYes.</think>\n\na cat",
        "```\na cat\n```",
        "```text\na cat\n```",
        "\ufeffa cat\r\n",
        "Sure! Here is a caption for this image:\n\na cat",
        "Certainly, here's the caption: a cat",
        "Here is the caption:\n\n“a cat”\n\nLet me know if you would like another one!",
        "Sure, here it is:\n\n```\na cat\n```",
        "a cat\n\nWould you like me to shorten it?",
    ],
)
def test_what_is_put_around_a_caption_goes(text: str) -> None:
    assert cleaned(text) == "a cat"


def test_quotation_marks_inside_stay() -> None:
    text = '"stop" is written on one sign and "go" on the other, "maybe"'
    assert cleaned(text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("{}", "no words"),
        ("... 123", "no words"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("I’m unable to describe people in images.", "refusal"),
        ("Sorry, I cannot identify this person.", "refusal"),
        ("I cannot assist with this request.", "refusal"),
        ("As an AI language model, I do not see pictures.", "refusal"),
        ("Unfortunately, I am not able to see it", "refusal"),
        ("<!DOCTYPE html><html><body>502</body></html>", "web page"),
        ('{"error": {"message": "out of memory"}}', "error message"),
        ("a cat " * 2000, "characters"),
        ("the cat sits on the mat and " * 12, "repeats itself"),
        ("<think>I see a cat and", "reasoning that never came to an answer"),
        ("a \x00 cat", "characters that no text has"),
    ],
)
def test_what_is_no_caption_is_told(text: str, problem: str) -> None:
    assert problem in problem_with(cleaned(text))


@pytest.mark.parametrize(
    "text",
    [
        "a cat",
        "zxq, a woman who looks sorry. I am written on her shirt.",
        "I love NY is printed on a t-shirt, worn by a young man.",
        "screenshot of a web page. <html> is to be seen in the text.",
        "猫が座っている。",
        "I. a statue with wings.",
        "Here is a cat. Sure: it sits on a sign that says: no entry.",
    ],
)
def test_captions_are_captions(text: str) -> None:
    assert cleaned(text) == text
    assert problem_with(cleaned(text)) == ""


@given(st.text(max_size=60))
def test_cleaning_adds_nothing(text: str) -> None:
    assert len(cleaned(text)) <= len(text)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1, max_size=60))
def test_text_is_read_in_the_usual_encodings(text: str) -> None:
    assert decoded(text.encode()) == text
    assert decoded(text.encode("utf-8-sig")) == text
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        assert decoded(mark + text.encode(encoding)) == text


def test_text_without_a_mark_is_guessed_and_binary_is_none() -> None:
    assert decoded("a cat sits here".encode("utf-16-le")) == "a cat sits here"
    assert decoded("a cat sits here".encode("utf-16-be")) == "a cat sits here"
    assert decoded("café".encode("cp1252")) == "café"
    assert decoded(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") is None
    assert decoded(bytes(range(256)) * 3) is None


@given(st.binary(max_size=80))
def test_no_bytes_end_in_a_traceback(content: bytes) -> None:
    text = decoded(content)
    if text is not None:
        split(text)
        problem_with(cleaned(text))


NAMES = st.text("ab c0123.-_é", min_size=1, max_size=10).map(lambda stem: f"{stem.strip() or 'x'}.png")
CAPTIONS = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), min_size=1, max_size=40)
    | st.lists(st.sampled_from(["## 01.png", " ## x", "  ## y", "a cat", "", "---", "# x"]), max_size=5).map("\n".join)
).map(str.strip)


@given(st.dictionaries(NAMES, CAPTIONS.filter(bool), min_size=1, max_size=6))
def test_our_own_text_comes_back_as_it_was_written(captions: dict[str, str]) -> None:
    found = split(as_one_text(captions.items(), ["Edit the captions, then import the file."]))
    assert {answer.name: answer.text for answer in found} == captions


NAMES = st.text(st.sampled_from("aä\\nxu0\n\r\t\x1b\u202e\udcff\u200d😀 "), max_size=8).map(lambda name: f"{name}.png")


@given(st.dictionaries(NAMES, st.just("a cat"), max_size=4))
def test_any_file_name_survives_the_text_that_is_edited(captions: dict[str, str]) -> None:
    text = as_one_text(captions.items())
    assert text.encode().count(b"\n## ") == len(captions)
    assert "\x1b" not in text
    assert {answer.name: answer.text for answer in split(text)} == captions


def test_half_a_character_in_an_answer_does_not_keep_the_others_from_being_written() -> None:
    assert split(as_one_text([("a.png", "a \ud83d cat")])) == [Answer("a.png", "a ? cat")]


TWO = [Answer("01.png", "a cat"), Answer("02.png", "a dog")]


@pytest.mark.parametrize(
    "text",
    [
        "01.png: a cat\n02.png: a dog",
        "Here are your captions!\n\n**01.png**\na cat\n\n**02.png**\na dog\n",
        "### 01.png\n\na cat\n\n---\n\n### 02.png\n\na dog",
        "- `01.png` — a cat\n- `02.png` — a dog",
        "1. **01.png:** a cat\n2. **02.png:** a dog",
        "=== 01.png ===\na cat\n=== 02.png ===\na dog",
        "| File | Caption |\n|---|---|\n| 01.png | a cat |\n| `02.png` | a dog |\n",
        "**01.png**\na cat\n\n**02.png**\na dog\n\nLet me know if you need anything else!",
        "file,caption\n01.png,a cat\n02.png,a dog\n",
        'Caption;Image\n"a cat";01.png\n"a dog";02.png\n',
        json.dumps({"01.png": "a cat", "02.png": "a dog"}),
        json.dumps([{"file": "01.png", "caption": "a cat"}, {"file": "02.png", "caption": "a dog"}]),
        json.dumps({"captions": [{"image": "01.png", "text": "a cat"}, {"image": "02.png", "text": "a dog"}]}),
        '{"image_path": "01.png", "caption": "a cat"}\n{"image_path": "02.png", "caption": "a dog"}\n',
    ],
)
def test_a_chat_answers_in_many_forms(text: str) -> None:
    assert split(text) == TWO


def test_numbers_and_headings_name_pictures_too() -> None:
    assert split("1. a cat\n2. a dog\nthat barks") == [Answer("1", "a cat"), Answer("2", "a dog\nthat barks")]
    assert split("## Image 1\na cat\n## Image 2\na dog") == [Answer("Image 1", "a cat"), Answer("Image 2", "a dog")]
    assert split("**Image 1:** a cat\n**Image 2:** a dog\n\nEnjoy!") == [
        Answer("Image 1", "a cat"),
        Answer("Image 2", "a dog"),
    ]
    assert split("Picture 1\na cat\n\nPicture 2\na dog") == [
        Answer("Picture 1", "a cat"),
        Answer("Picture 2", "a dog"),
    ]
    assert split('["a cat", "a dog"]') == [Answer("1", "a cat"), Answer("2", "a dog")]


@pytest.mark.parametrize("text", ["", "a cat. it sits.", "in 1990. a cat\nat 5. a dog", "[[[", "{}", "3"])
def test_a_text_that_nothing_divides_gives_nothing(text: str) -> None:
    assert split(text) == []
