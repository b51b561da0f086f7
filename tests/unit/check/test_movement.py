"""Clips of which nothing is to be seen, or in which nothing moves, are told from others."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wan22lora.check.clip_frames import frames_of
from wan22lora.check.clips import clip_remarks
from wan22lora.check.facts import look_at
from wan22lora.check.movement import FRAMES, movement_in
from wan22lora.dataset.scan import scan
from wan22lora.dataset.source import Source

from .conftest import drawn

BLACK = Image.new("RGB", (160, 96))
SCENE = drawn("scene", (160, 96))


def moving(count: int = 48) -> list[Image.Image]:
    """A small square wanders over the scene."""
    frames = []
    for index in range(count):
        frame = SCENE.copy()
        frame.paste((255, 255, 0), (2 * index, 20, 2 * index + 12, 32))
        frames.append(frame)
    return frames


def noisy(count: int = 48) -> list[Image.Image]:
    """The scene through a camera on a tripod: every pixel flickers."""
    chance = random.Random(1)
    frames = []
    for _ in range(count):
        noise = Image.frombytes("RGB", SCENE.size, chance.randbytes(SCENE.width * SCENE.height * 3))
        frames.append(Image.blend(SCENE, noise, 0.06))
    return frames


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    import av

    as_frame: Any = av.VideoFrame.from_image

    def make(name: str, frames: Iterable[Image.Image], crf: int = 30) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("libx264", rate=16)
            stream.options = {"crf": str(crf)}
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(as_frame(frame)))
            container.mux(stream.encode(None))
        path.with_suffix(".txt").write_text("zxq", encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize(
    ("frames", "kinds"),
    [
        (moving(), set()),
        ([SCENE] * 48, {"clip-still"}),
        (noisy(), {"clip-still"}),
        ([BLACK] * 48, {"clip-blank"}),
        ([Image.new("RGB", BLACK.size, (200, 60, 60))] * 48, {"clip-blank"}),
        ([BLACK, BLACK, *moving(46)], {"clip-begins-black"}),
        ([SCENE] * 47 + [drawn("cut", SCENE.size)], set()),
    ],
    ids=["moving", "still", "noisy", "black", "red", "begins black", "cut at the end"],
)
# x264 does not encode the same frames to the same bytes every time; at a crf of 38 that came near the limit.
@pytest.mark.parametrize("crf", [18, 28])
def test_clips_are_told_apart(
    write: Callable[..., Path], tmp_path: Path, frames: list[Image.Image], kinds: set[str], crf: int
) -> None:
    write("a.mp4", frames, crf)
    source = Source(
        index=0, kind="videos", directory=tmp_path, jsonl=None, cache=tmp_path / "c", resolution=(160, 96), frames=(45,)
    )
    (looked,) = look_at([scan(Source(**{**source.__dict__, "frame_extraction": "full"}))])
    found = {remark.kind for remark in clip_remarks(looked)}
    assert {kind for kind in found if kind.startswith(("clip-blank", "clip-still", "clip-begins"))} == kinds


def test_only_what_is_trained_counts(write: Callable[..., Path]) -> None:
    path = write("a.mp4", [SCENE] * 24 + moving(24))
    whole, head = frames_of(path, FRAMES, 256), frames_of(path, FRAMES, 256, limit=23)
    assert [movement is not None and movement.still for movement in (movement_in(whole), movement_in(head))] == [
        False,
        True,
    ]


def test_frames_are_spread_over_clips_of_any_length(write: Callable[..., Path]) -> None:
    for count in (1, 2, 7, 8, 9, 100):
        frames = frames_of(write("a.mp4", (Image.new("RGB", (160, 96), (2 * n, 0, 0)) for n in range(count))), 8, 32)
        reds = [pixel[0] for frame in frames if isinstance(pixel := frame.getpixel((16, 9)), tuple)]
        assert len(reds) <= 8
        assert reds == sorted(reds)
        assert reds[0] <= 6
        assert reds[-1] >= 2 * count * 0.75 - 6
        assert max(frame.size for frame in frames) == (32, 19)


def test_a_long_clip_is_searched_by_its_key_frames(write: Callable[..., Path]) -> None:
    frames = frames_of(write("a.mp4", (Image.new("RGB", (160, 96), (n // 4, 0, 0)) for n in range(640))), 8, 32)
    assert 2 <= len(frames) <= 8


def test_what_is_no_clip_has_no_frames(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    assert frames_of(tmp_path / "a.mp4", 8, 32) == frames_of(tmp_path / "b.mp4", 8, 32) == ()
    assert frames_of(tmp_path, 8, 32) == ()


def test_a_folder_of_pictures_is_a_clip_too(tmp_path: Path) -> None:
    for index in range(20):
        Image.new("RGB", (64, 32), (index * 10, 0, 0)).save(tmp_path / f"{index:02d}.png")
    frames = frames_of(tmp_path, 3, 16)
    assert [frame.getpixel((0, 0)) for frame in frames] == [(0, 0, 0), (90, 0, 0), (190, 0, 0)]
    assert frames[0].size == (16, 8)
