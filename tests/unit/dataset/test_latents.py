"""Cache files bear musubi-tuner's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.dataset.latents import latents_of, stem_of, text_file
from wan22lora.dataset.source import Item, Latents, Source


def item(stem: str, size: tuple[int, int], frames: int | None = None) -> Item:
    return Item(Path(f"/x/{stem}.png"), stem, "a bird", size, frames, None)


def test_a_picture_keeps_its_stored_size_in_the_name(images: Callable[..., Source]) -> None:
    assert latents_of(item("a_b", (1920, 1080)), images(resolution=(960, 960))) == (
        Latents("a_b_1920x1080_wan.safetensors", (1280, 720)),
    )
    assert latents_of(item("a", (64, 48)), images())[0].file == "a_0064x0048_wan.safetensors"


def test_a_clip_has_one_file_for_each_window_with_its_encoded_size(videos: Callable[..., Source]) -> None:
    source = videos(frames=(5, 9), frame_extraction="chunk")
    assert latents_of(item("walk", (640, 640), 10), source) == (
        Latents("walk_00000-005_0128x0128_wan.safetensors", (128, 128, 5)),
        Latents("walk_00005-005_0128x0128_wan.safetensors", (128, 128, 5)),
        Latents("walk_00000-009_0128x0128_wan.safetensors", (128, 128, 9)),
    )


def test_a_clip_too_short_has_none_and_a_caption_file_all_the_same(videos: Callable[..., Source]) -> None:
    assert latents_of(item("walk", (64, 64), 8), videos(frames=(9,))) == ()
    assert text_file(item("walk", (64, 64), 8)) == "walk_wan_te.safetensors"


@pytest.mark.parametrize(
    ("path", "stem"),
    [("/x/a.png", "a"), ("/x/a.b.png", "a.b"), ("/x/walk", "walk"), ("/x/walk/", ""), ("/x/.a.png", ".a")],
)
def test_the_stem_is_cut_from_the_path_as_it_stands(path: str, stem: str) -> None:
    assert stem_of(path) == stem
