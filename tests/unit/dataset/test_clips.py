"""A clip has the frames that decoding gives, whatever its container says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from wan22lora.check.clip_frames import frames_of
from wan22lora.dataset.clips import common_rate, read_clip, read_rate, read_seconds
from wan22lora.dataset.pictures import UnreadableError

OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:bframes=3"}


def decoded(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def cut(path: Path, start: int, name: str) -> Path:
    """Everything from frame `start` on, copied without re-encoding, as a player's edit list asks for."""
    target = path.with_name(name)
    with av.open(str(path)) as read, av.open(str(target), "w") as write:
        stream = read.streams.video[0]
        copy: Any = write.add_stream_from_template(stream)
        packets: list[Any] = [packet for packet in read.demux(stream) if packet.size]
        first = sorted(packet.pts for packet in packets)[start]
        key = max(i for i, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= first)
        for packet in packets[key:]:
            packet.pts -= first
            packet.dts -= first
            packet.stream = copy
            write.mux(packet)
    return target


@pytest.mark.parametrize("frames", [1, 2, 5, 30])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.mkv", "libx264"),
        ("a.mp4", "mpeg4"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx"),
        ("a.mpg", "mpeg1video"),
    ],
)
def test_frames_size_and_rate_are_read(clip: Callable[..., Path], name: str, codec: str, frames: int) -> None:
    path = clip(name, frames, 25, codec=codec)
    found = read_clip(path)
    assert (found.size, found.frames, found.turned) == ((64, 48), decoded(path), False)
    assert found.frames == frames
    assert found.fps is not None
    if frames > 5:
        assert found.fps == pytest.approx(25, rel=0.01)


@pytest.mark.parametrize("options", [{}, OPEN_GOP])
@pytest.mark.parametrize("start", [0, 5, 13, 30])
@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_frames_that_a_cut_hides_are_not_counted(
    clip: Callable[..., Path], options: dict[str, str], start: int, name: str
) -> None:
    path = cut(clip("whole.mp4", 48, options=options), start, name)
    assert read_clip(path).frames == decoded(path)


def test_the_container_alone_would_have_said_otherwise(clip: Callable[..., Path]) -> None:
    path = cut(clip("whole.mp4", 48), 13, "cut.mp4")
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 48
    assert read_clip(path).frames == 35


def test_no_more_frames_are_decoded_than_asked_for(clip: Callable[..., Path]) -> None:
    assert read_clip(clip("a.mkv", 30), limit=7).frames == 7


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_damaged_clip_is_what_decoding_makes_of_it(clip: Callable[..., Path], name: str) -> None:
    path = clip(name, 81, size=(128, 128))
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 400] = bytes(400)
    path.write_bytes(content)
    try:
        expected = decoded(path)
    except av.FFmpegError:
        with pytest.raises(UnreadableError):
            read_clip(path)
    else:
        assert read_clip(path).frames == expected


@pytest.mark.parametrize("content", [b"", b"hello" * 1000])
def test_what_is_no_clip_cannot_be_read(folder: Path, content: bytes) -> None:
    (folder / "a.mp4").write_bytes(content)
    with pytest.raises(UnreadableError):
        read_clip(folder / "a.mp4")
    assert read_rate(folder / "a.mp4") is None


def test_a_clip_that_ends_early_cannot_be_read(clip: Callable[..., Path]) -> None:
    path = clip("a.mp4", 30)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(UnreadableError):
        read_clip(path)


def test_sound_alone_is_no_clip(folder: Path) -> None:
    path = folder / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44100, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=1024)
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
    with pytest.raises(UnreadableError, match="no video"):
        read_clip(path)


def test_a_folder_of_pictures_is_a_clip(folder: Path, picture: Callable[..., Path]) -> None:
    for number in range(3):
        picture(f"walk/{number}.png", (80, 40))
    found = read_clip(folder / "walk")
    assert (found.size, found.frames, found.fps) == ((80, 40), 3, None)
    (folder / "walk" / "3.png").write_bytes(b"")
    with pytest.raises(UnreadableError, match=r"3\.png"):
        read_clip(folder / "walk")
    with pytest.raises(UnreadableError):
        read_clip(folder / "nowhere")


def test_the_rate_is_read_without_decoding(clip: Callable[..., Path]) -> None:
    assert read_rate(clip("a.mp4", 30, 24000 / 1001)) == pytest.approx(24000 / 1001)


def test_clips_share_a_rate_only_when_all_are_nearly_equal() -> None:
    assert common_rate([30.0, 29.97, 29.97]) == 29.97
    assert common_rate([30.0, 24.0]) is None
    assert common_rate([30.0, None]) is None
    assert common_rate([]) is None


def test_a_pipe_in_a_clips_place_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "a.mp4")
    assert read_rate(folder / "a.mp4") is None
    assert read_seconds(folder / "a.mp4") is None
    assert frames_of(folder / "a.mp4", 8, 256) == ()
    with pytest.raises(UnreadableError):
        read_clip(folder / "a.mp4")


def test_a_clip_of_a_codec_that_nobody_knows_cannot_be_read(clip: Callable[..., Path]) -> None:
    path = clip("a.mov", codec="mpeg4")
    content = path.read_bytes()
    assert b"mp4v" in content
    path.write_bytes(content.replace(b"mp4v", b"zz9z").replace(b"esds", b"zzds"))
    with pytest.raises(UnreadableError, match="codec"):
        read_clip(path)
