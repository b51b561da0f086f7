"""Batches and steps are counted as musubi-tuner counts them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.dataset.predict import (
    batches_per_epoch,
    epochs_of,
    steps_per_epoch,
    total_steps,
)
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source

sizes = st.tuples(st.integers(32, 3000), st.integers(32, 3000))
pictures = st.lists(sizes, max_size=25)
repeats = st.integers(1, 5)
batch_sizes = st.integers(1, 6)


def images(found: list[tuple[int, int]], **values: Any) -> Scan:
    source = Source(0, "images", Path("/dataset"), None, Path("/cache"), (512, 512), **values)
    items = [Item(Path(f"/x/{i}.png"), str(i), "a", size, None, None) for i, size in enumerate(found)]
    return Scan(source, tuple(items), ())


def videos(found: list[tuple[tuple[int, int], int]], **values: Any) -> Scan:
    source = Source(0, "videos", Path("/dataset"), None, Path("/cache"), (512, 512), **values)
    items = [Item(Path(f"/x/{i}.mp4"), str(i), "a", size, frames, 16) for i, (size, frames) in enumerate(found)]
    return Scan(source, tuple(items), ())


@given(pictures, st.randoms(use_true_random=False), repeats, batch_sizes)
def test_the_order_of_the_items_does_not_matter(
    found: list[tuple[int, int]], random: Any, repeat: int, batch: int
) -> None:
    mixed = list(found)
    random.shuffle(mixed)
    settings = {"repeats": repeat, "batch_size": batch}
    assert images(mixed, **settings).loads == images(found, **settings).loads


@given(pictures, repeats, batch_sizes)
def test_every_file_is_in_one_bucket_as_often_as_it_repeats(
    found: list[tuple[int, int]], repeat: int, batch: int
) -> None:
    loads = images(found, repeats=repeat, batch_size=batch).loads
    assert sum(load.files for load in loads) == len(found)
    for load in loads:
        assert load.count == load.files * repeat
        assert (load.batches - 1) * batch < load.count <= load.batches * batch


@given(pictures, repeats)
def test_without_batching_every_item_is_a_batch(found: list[tuple[int, int]], repeat: int) -> None:
    assert batches_per_epoch([images(found, repeats=repeat)]) == len(found) * repeat


@given(pictures, pictures, batch_sizes)
def test_datasets_do_not_mix(one: list[tuple[int, int]], two: list[tuple[int, int]], batch: int) -> None:
    scans = [images(one, batch_size=batch), images(two, batch_size=batch)]
    assert batches_per_epoch(scans) == sum(batches_per_epoch([scan]) for scan in scans)


def test_a_bucket_ends_with_a_smaller_batch() -> None:
    scan = images([(100, 100)] * 3 + [(200, 100)] * 2, repeats=3, batch_size=4)
    assert [(load.bucket, load.count, load.batches) for load in scan.loads] == [
        ((512, 512), 9, 3),
        ((704, 368), 6, 2),
    ]


def test_items_that_share_a_cache_file_count_once() -> None:
    scan = images([(100, 100)])
    (item,) = scan.items
    assert batches_per_epoch([Scan(scan.source, (item, item), ())]) == 1


def test_windows_count_and_clips_without_any_do_not() -> None:
    found = [((640, 480), 20), ((480, 640), 12), ((64, 64), 4)]
    scan = videos(found, frames=(5, 9), frame_extraction="chunk", batch_size=2, repeats=1)
    assert [(load.bucket, load.files, load.batches) for load in scan.loads] == [
        ((432, 592, 5), 2, 1),
        ((432, 592, 9), 1, 1),
        ((592, 432, 5), 4, 2),
        ((592, 432, 9), 2, 1),
    ]


def test_clips_without_buckets_are_one_bucket_for_each_length() -> None:
    found = [((640, 480), 20), ((480, 640), 12)]
    assert [load.bucket for load in videos(found, frames=(5, 9), bucket=False).loads] == [
        (512, 512, 5),
        (512, 512, 9),
    ]


@given(st.integers(0, 5000), st.integers(1, 64), st.integers(1, 8))
def test_steps_of_an_epoch_cover_its_batches_and_no_more(batches: int, accumulation: int, processes: int) -> None:
    steps = steps_per_epoch(batches, accumulation, processes)
    assert (steps - 1) * accumulation * processes < batches <= steps * accumulation * processes
    assert steps == math.ceil(math.ceil(batches / processes) / accumulation)


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 100))
def test_epochs_and_steps_agree(batches: int, accumulation: int, epochs: int) -> None:
    steps = total_steps(batches, epochs=epochs, accumulation=accumulation)
    assert epochs_of(batches, steps, accumulation) == epochs
    assert epochs_of(batches, steps + 1, accumulation) == epochs + 1


def test_epochs_win_over_steps_and_one_of_them_is_needed() -> None:
    assert total_steps(18, epochs=100, steps=7, accumulation=4) == 500
    assert total_steps(18, steps=1600) == 1600
    assert epochs_of(0, 1600) == 0
    with pytest.raises(ValueError, match="epochs or in steps"):
        total_steps(18)
