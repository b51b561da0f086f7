"""What would go wrong with readable files is said before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.dataset.predict import batches_per_epoch
from wan22lora.dataset.scan import clip_fps, scan
from wan22lora.dataset.source import Source
from wan22lora.errors import Finding


def only(source: Source, level: str = "error") -> Finding:
    (finding,) = [finding for finding in scan(source).findings if finding.level == level]
    return finding


def test_equal_stems_are_an_error(picture: Callable[..., Path], images: Callable[..., Source]) -> None:
    picture("a.png")
    picture("a.jpg")
    finding = only(images())
    assert "a.jpg = a.png" in finding.message
    assert "overwrite" in finding.message


@pytest.mark.parametrize("name", ["a[1]", "star*", "what?"])
def test_a_cache_path_that_a_glob_would_read_otherwise_is_an_error(
    picture: Callable[..., Path], images: Callable[..., Source], tmp_path: Path, name: str
) -> None:
    picture("a.png")
    assert "no cache file" in only(images(cache=tmp_path / name / "cache")).message


def test_the_pictures_folder_is_no_cache_folder(
    picture: Callable[..., Path], images: Callable[..., Source], folder: Path, tmp_path: Path
) -> None:
    picture("a.png")
    (tmp_path / "link").symlink_to(folder)
    for cache in (folder, tmp_path / "link", folder / "x" / ".."):
        assert "deletes every" in only(images(cache=cache)).message


def test_a_picture_under_the_smallest_bucket_is_an_error(
    picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    picture("a.png", (15, 300))
    assert scan(images()).findings == ()
    assert "a.png (15x300)" in only(images(bucket_no_upscale=True)).message


def test_a_resolution_without_buckets_is_an_error_and_nothing_is_predicted(
    picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    picture("a.png")
    source = images(resolution=(16, 16))
    assert "divides by zero" in only(source).message
    assert batches_per_epoch([scan(source)]) == 0


def test_a_resolution_without_whole_patches_is_an_error_only_without_buckets(
    picture: Callable[..., Path], images: Callable[..., Source]
) -> None:
    picture("a.png")
    assert scan(images(resolution=(100, 100))).findings == ()
    assert "patches" in only(images(resolution=(100, 100), bucket=False)).message


def test_a_rotation_tag_is_a_warning(picture: Callable[..., Path], images: Callable[..., Source]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    picture("a.jpg", exif=exif)
    assert "rotation tag" in only(images(), "warning").message


def test_grey_of_16_bits_is_an_error(folder: Path, images: Callable[..., Source]) -> None:
    Image.new("I;16", (64, 48), 30000).save(folder / "a.png")
    (folder / "a.txt").write_text("a bird", encoding="utf-8")
    with Image.open(folder / "a.png") as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)  # what musubi-tuner trains
    assert "white" in only(images()).message


def test_clips_too_short_are_a_warning_and_an_error_when_none_is_left(
    clip: Callable[..., Path], videos: Callable[..., Source]
) -> None:
    clip("a.mp4", 8)
    source = videos(frames=(9, 21))
    warning = only(source, "warning")
    assert "a.mp4 (8 frames)" in warning.message
    assert "smallest target of 9 frames" in warning.message
    assert warning.fix.startswith("5 target frames fit all of them")
    assert "no clip" in only(source).message
    clip("b.mp4", 9)
    assert [finding.level for finding in scan(source).findings] == ["warning"]
    assert batches_per_epoch([scan(source)]) == 1


def test_a_five_second_clip_misses_81_frames_by_one(clip: Callable[..., Path], videos: Callable[..., Source]) -> None:
    clip("a.mp4", 120, 24, size=(32, 32))
    warning = only(videos(frames=(81,), source_fps=24.0), "warning")
    assert "a.mp4 (80 frames)" in warning.message
    assert "77 target frames" in warning.fix


def test_clips_at_another_rate_than_source_fps_are_a_warning(
    clip: Callable[..., Path], videos: Callable[..., Source]
) -> None:
    clip("a.mp4", 30, 30)
    clip("b.mp4", 30, 24)
    assert "1 clip with another frame rate" in only(videos(source_fps=30.0), "warning").message
    assert "a.mp4 (30 fps), b.mp4 (24 fps)" in only(videos(), "warning").message


def test_a_rate_below_16_is_a_warning(clip: Callable[..., Path], videos: Callable[..., Source]) -> None:
    clip("a.mp4", 30, 12)
    assert "adds no frames" in only(videos(source_fps=12.0), "warning").message


def test_clips_of_several_shapes_without_buckets_cannot_share_a_batch(
    clip: Callable[..., Path], videos: Callable[..., Source]
) -> None:
    clip("a.mp4")
    assert scan(videos(bucket=False, batch_size=2)).findings == ()
    clip("b.mp4", size=(48, 64))
    assert scan(videos(bucket=False)).findings == ()
    assert scan(videos(batch_size=2)).findings == ()
    assert "tensor to be equal size" in only(videos(bucket=False, batch_size=2)).message


def test_a_clip_that_cannot_be_read_is_left_out(
    clip: Callable[..., Path], videos: Callable[..., Source], folder: Path
) -> None:
    clip("a.mp4")
    clip("b.mp4")
    (folder / "b.mp4").write_bytes(b"hello")
    source = videos()
    assert "b.mp4" in only(source).message
    assert [item.stem for item in scan(source).items] == ["a"]


def test_the_common_frame_rate_is_found(
    clip: Callable[..., Path], videos: Callable[..., Source], images: Callable[..., Source], folder: Path
) -> None:
    assert clip_fps(videos()) is None
    clip("a.mp4", 24, 24)
    clip("b.mkv", 24, 24)
    assert clip_fps(videos()) == pytest.approx(24)
    clip("c.mp4", 30, 30)
    assert clip_fps(videos()) is None
    assert clip_fps(images()) is None
    assert clip_fps(videos(directory=folder / "none")) is None


def test_nothing_is_written(picture: Callable[..., Path], images: Callable[..., Source], tmp_path: Path) -> None:
    picture("a.png")
    before = sorted(tmp_path.rglob("*"))
    scan(images())
    assert sorted(tmp_path.rglob("*")) == before
