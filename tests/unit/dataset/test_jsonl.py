"""A JSONL file is read as musubi-tuner reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.dataset.scan import clip_fps, scan
from wan22lora.dataset.source import Source
from wan22lora.errors import Finding


@pytest.fixture
def listing(tmp_path: Path, images: Callable[..., Source]) -> Callable[..., Source]:
    """A dataset of pictures listed by these lines; an object becomes JSON."""

    def make(*lines: object) -> Source:
        file = tmp_path / "list.jsonl"
        file.write_text(
            "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), encoding="utf-8"
        )
        return images(directory=None, jsonl=file)

    return make


def only(source: Source) -> Finding:
    (finding,) = scan(source).findings
    return finding


def test_each_line_is_an_item_with_its_caption_unstripped(
    listing: Callable[..., Source], picture: Callable[..., Path]
) -> None:
    one, two = picture("one.png", caption=None), picture("deep/two.x.jpg", (80, 40), caption=None)
    found = scan(listing({"image_path": str(one), "caption": " a bird "}, {"image_path_0": str(two), "caption": "b"}))
    assert [(item.stem, item.caption, item.size) for item in found.items] == [
        ("one", " a bird ", (64, 48)),
        ("two.x", "b", (80, 40)),
    ]
    assert found.findings == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "cannot read as JSON"),
        ("", "without content"),
        ("[1, 2]", "without a JSON object"),
        ({"caption": "a bird"}, "without a text under `image_path`"),
        ({"image_path": "", "caption": "a bird"}, "without a text under `image_path`"),
        ({"image_path": "/a.png"}, "without a text under `caption`"),
        ({"image_path": "/" + "x" * 5000, "caption": "a bird"}, "without a file"),
        ({"image_path": "/a\0.png", "caption": "a bird"}, "without a file"),
        ({"image_path": "/a.png", "caption": None}, "without a text under `caption`"),
    ],
)
def test_a_line_that_stops_musubi_is_named_by_its_number(
    listing: Callable[..., Source], picture: Callable[..., Path], line: object, message: str
) -> None:
    good = {"image_path": str(picture("a.png")), "caption": "a bird"}
    finding = only(listing(good, line))
    assert finding.where.endswith("list.jsonl:2") or "line 2 " in finding.message
    assert message in finding.message
    assert finding.level == "error"


def test_many_bad_lines_are_one_finding(listing: Callable[..., Source]) -> None:
    finding = only(listing(*["{broken"] * 9))
    assert finding.where.endswith(":1")
    assert finding.message.endswith("1, 2, 3, 4, 5 and 4 more")


def test_files_that_are_missing_or_not_named_in_full_are_errors(
    listing: Callable[..., Source], picture: Callable[..., Path], tmp_path: Path
) -> None:
    near = picture("a.png").relative_to(tmp_path)
    found = scan(listing({"image_path": "/nowhere/b.png", "caption": "b"}, {"image_path": str(near), "caption": "a"}))
    assert [item.path for item in found.items] == [tmp_path / near]
    missing, relative = found.findings
    assert "line 1 /nowhere/b.png" in missing.message
    assert "relative path" in relative.message


def test_a_file_that_is_none_or_not_utf8_or_empty_is_an_error(images: Callable[..., Source], tmp_path: Path) -> None:
    file = tmp_path / "list.jsonl"
    source = images(directory=None, jsonl=file)
    assert "cannot be read" in only(source).message
    file.write_bytes(b"")
    assert "empty" in only(source).message
    file.write_bytes(b'{}\n{"caption": "V\xf6gel"}\n')
    assert only(source).where.endswith(":2")


def test_a_byte_order_mark_before_the_first_line_is_an_error(
    listing: Callable[..., Source], picture: Callable[..., Path]
) -> None:
    line = json.dumps({"image_path": str(picture("a.png")), "caption": "a"})
    assert "byte order mark" in only(listing("\ufeff" + line)).message


def test_a_hidden_name_is_listed_but_its_cache_is_not_seen(
    listing: Callable[..., Source], picture: Callable[..., Path]
) -> None:
    source = listing({"image_path": str(picture(".a.png")), "caption": "a"})
    assert "starts with a dot" in only(source).message


def test_a_clip_may_be_a_folder_of_pictures(
    tmp_path: Path, videos: Callable[..., Source], picture: Callable[..., Path], clip: Callable[..., Path]
) -> None:
    for number in range(6):
        walk = picture(f"walk/{number}.png", (80, 40)).parent
    lines = [{"video_path": str(path), "caption": "walks"} for path in (walk, clip("b.mp4", 9))]
    file = tmp_path / "list.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    source = videos(directory=None, jsonl=file, frames=(5,))
    found = scan(source)
    assert [(item.stem, item.size, item.frames) for item in found.items] == [
        ("walk", (80, 40), 5),
        ("b", (64, 48), 5),
    ]
    assert found.findings == ()
    assert clip_fps(source) is None


def test_half_a_character_in_a_caption_is_an_error(
    listing: Callable[..., Source], picture: Callable[..., Path]
) -> None:
    source = listing({"image_path": str(picture("a.png")), "caption": "a \ud83d"})
    found = scan(source)
    assert found.items == ()
    assert "half a character" in found.findings[0].message


@pytest.mark.parametrize("what", ["pipe", "device", "huge"])
def test_what_would_be_read_without_end_is_not_read(tmp_path: Path, images: Callable[..., Source], what: str) -> None:
    file = tmp_path / "list.jsonl"
    if what == "pipe":
        os.mkfifo(file)
    elif what == "device":
        file.symlink_to("/dev/zero")
    else:
        with file.open("wb") as opened:
            opened.truncate(1 << 40)
    assert only(images(directory=None, jsonl=file)).kind == "jsonl-unreadable"
