"""How long clips are, and how much of them is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wan22lora.check.clips import clip_remarks
from wan22lora.check.facts import ClipFacts, Looked, look_at
from wan22lora.dataset.clips import read_seconds
from wan22lora.dataset.scan import Scan, scan
from wan22lora.dataset.source import Item, Source


def looked(seconds: float | None, **values: Any) -> Looked:
    place: dict[str, Any] = {
        "directory": Path("/clips"),
        "jsonl": None,
        "cache": Path("/cache"),
        "resolution": (128, 128),
    }
    source = Source(index=0, kind="videos", **(place | {"frames": (61,), "source_fps": 24.0} | values))
    item = Item(Path("/clips/a.mp4"), "a", "zxq", (128, 128), 61, 24.0)
    return Looked(Scan(source, (item,), ()), clips=(ClipFacts(item, seconds),))


def kinds(looked: Looked) -> set[str]:
    return {remark.kind for remark in clip_remarks(looked)}


@pytest.mark.parametrize(("seconds", "advised"), [(3.5, True), (4.0, False), (8.0, False), (9.0, True), (None, False)])
def test_clips_of_other_than_four_to_eight_seconds_are_advice(seconds: float | None, advised: bool) -> None:
    assert ("clip-length" in kinds(looked(seconds))) is advised


def test_a_clip_of_which_less_than_half_is_trained_is_advice() -> None:
    (remark,) = clip_remarks(looked(8.0))
    assert remark.files == ("a.mp4 (3.8 of 8.0 s)",)
    assert kinds(looked(7.0)) == set()
    assert kinds(looked(8.0, frame_extraction="chunk")) == set()


def test_without_a_source_fps_the_clips_own_rate_counts() -> None:
    (remark,) = clip_remarks(looked(6.0, source_fps=None))
    assert remark.files == ("a.mp4 (2.5 of 6.0 s)",)


def test_the_length_comes_from_the_file(tmp_path: Path, images: Callable[..., Source]) -> None:
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(25):
            container.mux(stream.encode(av.VideoFrame(64, 64, "rgb24")))
        container.mux(stream.encode())
    (tmp_path / "a.txt").write_text("zxq", encoding="utf-8")
    source = Source(
        index=0, kind="videos", directory=tmp_path, jsonl=None, cache=tmp_path / "c", resolution=(64, 64), frames=(9,)
    )
    (each,) = look_at([scan(source)])
    assert [clip.seconds for clip in each.clips] == [pytest.approx(2.5)]
    assert read_seconds(tmp_path / "a.txt") is None
