"""What is sent, what is kept, and what a log says of it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wan22lora.captions.kept import forget, keep, kept_in, key_of
from wan22lora.captions.place import Medium, place_at
from wan22lora.captions.seen import FRAMES, data_urls, middles
from wan22lora.captions.watching import Lines
from wan22lora.captions.writing import Wish
from wan22lora.dataset.pictures import UnreadableError


@given(st.integers(1, 200), st.integers(1, 8))
def test_frames_are_spread_evenly(length: int, parts: int) -> None:
    found = list(middles(length, parts))
    assert len(found) == min(length, parts)
    assert found == sorted(set(found))
    assert found[0] >= 0
    assert found[-1] < length
    assert max(found[0], length - 1 - found[-1]) <= length / parts / 2 + 1


def picture(path: Path, size: tuple[int, int], mode: str = "RGB", **options: object) -> Medium:
    Image.new(mode, size).save(path, **options)  # type: ignore[arg-type]
    return Medium(path, "images", path.with_suffix(".txt"))


def sent(medium: Medium) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in data_urls(medium)]


@pytest.mark.parametrize(
    ("name", "size", "mode", "expected"),
    [
        ("a.png", (3000, 1000), "RGB", (1024, 341)),
        ("a.jpg", (1000, 3000), "L", (341, 1024)),
        ("a.png", (50, 40), "RGBA", (50, 40)),
        ("a.webp", (2048, 2048), "RGB", (1024, 1024)),
        ("a.png", (4, 4), "P", (4, 4)),
    ],
)
def test_pictures_are_sent_small(
    tmp_path: Path, name: str, size: tuple[int, int], mode: str, expected: tuple[int, int]
) -> None:
    (found,) = sent(picture(tmp_path / name, size, mode))
    assert (found.size, found.mode, found.format) == (expected, "RGB", "JPEG")


def test_pictures_are_turned_as_their_tag_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (found,) = sent(picture(tmp_path / "a.jpg", (40, 20), exif=exif))
    assert found.size == (20, 40)


def test_frames_come_from_the_whole_clip(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 1024, 64, "yuv420p"
        for index in range(100):
            frame = av.VideoFrame(1024, 64, "gray")
            frame.planes[0].update(bytes([index * 2]) * (frame.planes[0].line_size * 64))
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    found = sent(Medium(path, "videos", path.with_suffix(".txt")))
    assert len(found) == FRAMES
    assert found[0].size == (768, 48)
    greys = [frame.convert("L").resize((1, 1)).tobytes()[0] for frame in found]
    assert all(abs(grey - expected) < 15 for grey, expected in zip(greys, (25, 75, 125, 175), strict=True)), greys


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    (medium,) = place_at(tmp_path).media
    with pytest.raises(UnreadableError):
        data_urls(medium)


def test_answers_are_kept_by_content_model_and_instruction(tmp_path: Path) -> None:
    medium = picture(tmp_path / "a.png", (8, 8))
    key = key_of(medium, "llava", "describe")
    keep(tmp_path, key, "a cat — 猫")
    with (tmp_path / ".wan22lora-captions" / "answers.jsonl").open("ab") as file:
        file.write(b'\n{"key": "half')
    keep(tmp_path, "other", "a dog")
    assert kept_in([tmp_path]) == {key: "a cat — 猫", "other": "a dog"}
    assert key_of(medium, "other model", "describe") != key
    assert key_of(medium, "llava", "describe it") != key
    picture(tmp_path / "a.png", (9, 8))
    assert key_of(medium, "llava", "describe") != key
    forget([tmp_path])
    assert kept_in([tmp_path]) == {}


def test_opening_words_that_a_model_forgot_are_put_in_front() -> None:
    assert Wish("style", "zxq", "oil painting").completed("a cat") == "zxq, oil painting, a cat"
    assert Wish("style", "zxq", None).completed("zxq, a cat") == "zxq, a cat"
    assert Wish("style", "zxq", "painting in zxq style.").completed("a cat") == "painting in zxq style. a cat"
    assert Wish("style").completed("a cat") == "a cat"


def test_a_log_gets_a_line_now_and_then_and_every_failure() -> None:
    now, said = [0.0], list[str]()
    lines = Lines(said.append, 5, every=30, clock=lambda: now[0])
    lines.answered("a.png", "a cat")
    lines.failed("b.png", "was refused")
    now[0] = 31.0
    lines.answered("c.png", "a dog")
    lines.answered("d.png", "a bird")
    assert said == ["  b.png was refused", "  3 of 5"]
