"""Frames are dropped and windows cut as musubi-tuner does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.dataset.frames import frames_left, frames_to_read, windows
from wan22lora.dataset.source import Source

stored = st.integers(0, 400)
rates = st.one_of(st.none(), st.sampled_from([12.0, 16.0, 24000 / 1001, 25.0, 30.0]), st.floats(1, 240))
targets = st.lists(st.integers(0, 40).map(lambda n: 4 * n + 1), min_size=1, max_size=3).map(tuple)
modes = st.sampled_from(["head", "chunk", "slide", "uniform", "full"])


def source(**values: Any) -> Source:
    return Source(0, "videos", Path("/dataset"), None, Path("/cache"), (128, 128), **values)


@pytest.mark.parametrize(("rate", "frames"), [(24.0, 120), (25.0, 125), (30.0, 150)])
def test_five_seconds_fall_one_frame_short_of_81(rate: float, frames: int) -> None:
    clips = source(source_fps=rate, frames=(81,))
    assert frames_left(frames, clips) == 80
    assert windows(80, clips) == ()


@pytest.mark.parametrize(
    ("rate", "frames", "left"),
    [(24.0, 5, 3), (30.0, 2, 1), (30.0, 3, 2), (29.97, 300, 160), (60.0, 4, 1), (60.0, 5, 2)],
)
def test_a_frame_stays_when_the_whole_part_of_its_position_is_new(rate: float, frames: int, left: int) -> None:
    assert frames_left(frames, source(source_fps=rate, frame_extraction="full")) == left


def test_a_clip_slower_than_the_target_never_reaches_it() -> None:
    assert frames_left(1000, source(source_fps=12.0, frames=(81,))) == 61


@given(stored)
def test_without_a_rate_and_at_the_target_rate_no_frame_is_dropped(frames: int) -> None:
    for rate in (None, 16.0):
        assert frames_left(frames, source(source_fps=rate, frame_extraction="full")) == frames


@given(stored, rates, targets, modes, st.integers(1, 3))
def test_what_is_read_settles_the_outcome(
    frames: int, rate: float | None, target: tuple[int, ...], mode: Any, sample: int
) -> None:
    clips = source(source_fps=rate, frames=target, frame_extraction=mode, frame_sample=sample)
    limit = frames_to_read(clips)
    assert frames_left(frames, clips) == frames_left(frames if limit is None else min(frames, limit), clips)


@given(stored, targets, modes, st.integers(1, 9), st.integers(1, 9), st.integers(1, 200))
def test_windows_lie_within_the_clip_and_have_the_asked_length(
    frames: int, target: tuple[int, ...], mode: Any, stride: int, sample: int, longest: int
) -> None:
    clips = source(frames=target, frame_extraction=mode, frame_stride=stride, frame_sample=sample, max_frames=longest)
    found = windows(frames, clips)
    assert len(set(found)) == len(found)
    for start, length in found:
        assert start >= 0
        assert start + length <= frames
        assert length % 4 == 1
        assert length <= longest if mode == "full" else length in target
    if mode != "full":
        assert bool(found) == (frames >= min(target))


@given(st.integers(1, 400), st.integers(1, 200))
def test_full_keeps_every_clip_and_loses_at_most_three_frames(frames: int, longest: int) -> None:
    ((start, length),) = windows(frames, source(frame_extraction="full", max_frames=longest))
    assert start == 0
    assert min(frames, longest) - length in range(4)


def test_chunks_follow_one_another_without_a_gap() -> None:
    clips = source(frames=(5, 9), frame_extraction="chunk")
    assert windows(20, clips) == ((0, 5), (5, 5), (10, 5), (15, 5), (0, 9), (9, 9))


def test_slide_moves_by_its_stride() -> None:
    clips = source(frames=(9,), frame_extraction="slide", frame_stride=4)
    assert windows(20, clips) == ((0, 9), (4, 9), (8, 9))


@pytest.mark.parametrize(
    ("last", "count", "starts"),
    [
        (44, 4, [0, 14, 29, 44]),
        (10, 3, [0, 5, 10]),
        (0, 3, [0]),
        (7, 5, [0, 1, 3, 5, 7]),
        (100, 8, [0, 14, 28, 42, 57, 71, 85, 100]),
        (1, 4, [0, 1]),
    ],
)
def test_uniform_starts_where_numpy_would_and_equal_windows_are_one(last: int, count: int, starts: list[int]) -> None:
    clips = source(frames=(5,), frame_extraction="uniform", frame_sample=count)
    assert windows(5 + last, clips) == tuple((start, 5) for start in starts)


@given(stored, rates, targets)
def test_uniform_with_one_sample_is_head(frames: int, rate: float | None, target: tuple[int, ...]) -> None:
    one = source(source_fps=rate, frames=target, frame_extraction="uniform")
    head = source(source_fps=rate, frames=target)
    assert frames_left(frames, one) == frames_left(frames, head)
    assert windows(frames_left(frames, one), one) == windows(frames_left(frames, head), head)
