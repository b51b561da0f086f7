"""A picture goes into the bucket that musubi-tuner would choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.dataset.buckets import STEP, bucket_for, bucket_sizes, training_bucket
from wan22lora.dataset.source import Source

sides = st.integers(1, 5000)
sizes = st.tuples(sides, sides)
resolutions = st.tuples(st.integers(32, 1600), st.integers(32, 1600))


def source(resolution: tuple[int, int], kind: Any = "images", **values: Any) -> Source:
    return Source(0, kind, Path("/dataset"), None, Path("/cache"), resolution, **values)


@pytest.mark.parametrize(
    ("resolution", "size", "expected"),
    [
        ((960, 960), (1920, 1080), (1280, 720)),
        ((960, 960), (3024, 4032), (832, 1104)),
        ((960, 544), (1000, 1000), (720, 720)),
        ((512, 512), (1080, 1920), (384, 672)),
        ((1024, 1024), (800, 3000), (528, 1984)),
        ((848, 480), (800, 3000), (336, 1200)),
    ],
)
def test_the_bucket_is_the_one_that_musubi_chose(
    resolution: tuple[int, int], size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert bucket_for(size, source(resolution)) == expected


def test_the_buckets_of_960_squared_are_those_of_musubi() -> None:
    found = bucket_sizes((960, 960))
    assert (len(found), found[:2]) == (61, ((480, 1920), (496, 1856)))


def test_of_two_buckets_equally_far_the_narrower_wins() -> None:
    assert bucket_sizes((32, 32)) == ((16, 64), (32, 32), (64, 16))
    assert bucket_for((250, 100), source((32, 32))) == (32, 32)


@given(resolutions, sizes)
def test_a_bucket_is_one_of_the_sizes_and_no_other_is_closer_in_shape(
    resolution: tuple[int, int], size: tuple[int, int]
) -> None:
    chosen = bucket_for(size, source(resolution))
    ratio = size[0] / size[1]
    assert chosen in bucket_sizes(resolution)
    assert all(abs(w / h - ratio) >= abs(chosen[0] / chosen[1] - ratio) for w, h in bucket_sizes(resolution))


@given(resolutions)
def test_every_bucket_has_whole_steps_and_no_more_than_the_area(resolution: tuple[int, int]) -> None:
    for width, height in bucket_sizes(resolution):
        assert width >= STEP
        assert height >= STEP
        assert width % STEP == height % STEP == 0
        assert width * height <= resolution[0] * resolution[1]


@given(resolutions)
def test_a_clip_that_was_resized_stays_in_its_bucket_in_training(resolution: tuple[int, int]) -> None:
    for no_upscale in (False, True):
        clips = source(resolution, "videos", bucket_no_upscale=no_upscale)
        for size in bucket_sizes(resolution):
            assert bucket_for(size, clips) == training_bucket(size, clips) == size


@given(resolutions, sizes)
def test_a_small_picture_is_not_enlarged_when_that_is_forbidden(
    resolution: tuple[int, int], size: tuple[int, int]
) -> None:
    chosen = bucket_for(size, source(resolution, bucket_no_upscale=True))
    if size[0] * size[1] <= resolution[0] * resolution[1]:
        assert chosen == (size[0] // STEP * STEP, size[1] // STEP * STEP)
    else:
        assert chosen in bucket_sizes(resolution)


@given(resolutions, sizes)
def test_without_buckets_pictures_take_the_resolution_and_clips_are_cached_in_buckets_still(
    resolution: tuple[int, int], size: tuple[int, int]
) -> None:
    flags = {"bucket": False, "bucket_no_upscale": True}
    assert bucket_for(size, source(resolution, **flags)) == resolution
    assert bucket_for(size, source(resolution, "videos", **flags)) == bucket_for(size, source(resolution))
    assert training_bucket(size, source(resolution, "videos", **flags)) == resolution


def test_a_resolution_without_buckets_is_refused() -> None:
    with pytest.raises(ValueError, match="31x32"):
        bucket_sizes((31, 32))
    assert bucket_sizes((32, 32))
