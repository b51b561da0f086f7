"""Frame count, size and frame rate of a clip, as musubi-tuner will see them (dataset/media_utils.py:140-261).

musubi-tuner decodes a clip and counts. The number in the container is often another one: a clip cut without
re-encoding carries frames that players skip, and some decoders drop what precedes the first key frame. So the
container is believed only where nothing of the kind can be; everything else is decoded.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wan22lora.dataset.listing import media_among, names_in
from wan22lora.dataset.pictures import UnreadableError, read_picture
from wan22lora.dataset.units import length_width, picture_units, starts_afresh

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SAME_RATE = 0.01
"""Frame rates closer than this share count as equal: over 81 frames the difference is under one frame."""


@dataclass(frozen=True)
class Clip:
    size: tuple[int, int]
    """Stored width and height in pixels of the first frame; a rotation tag is not applied."""
    frames: int
    fps: float | None
    """Average frames per second as the file states them; None for a folder of pictures."""
    turned: bool
    """True when a tag asks for a rotation, which musubi-tuner does not apply."""


def read_clip(path: str | Path, limit: int | None = None) -> Clip:
    """A clip, or a folder of pictures, which musubi-tuner takes for a clip when a JSONL file names it.

    At most `limit` frames are decoded, so the count may stop there. Raises UnreadableError.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - any string that musubi-tuner would accept
        return _read_folder(Path(path))
    import av

    try:
        with av.open(str(path)) as container:
            clip = _from_container(container, container.streams.video[0])
        if clip is not None:
            return clip
    except (av.FFmpegError, OSError, ValueError, IndexError):
        pass  # decoding decides, and says what is wrong
    try:
        with av.open(str(path)) as container:
            return _decoded(container, container.streams.video[0], limit)
    except IndexError as problem:
        raise UnreadableError("no video in it") from problem
    except (av.FFmpegError, OSError, ValueError) as problem:
        raise UnreadableError(getattr(problem, "strerror", None) or str(problem)) from problem


def read_rate(path: str | Path) -> float | None:
    """Frames per second that the container states; None where it cannot be read."""
    if not os.path.isfile(path):  # noqa: PTH113 - a pipe would be waited for without end
        return None
    import av

    try:
        with av.open(str(path)) as container:
            return _rate(container.streams.video[0])
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return None


def read_seconds(path: str | Path) -> float | None:
    """Length that the container states; None where it states none or cannot be read."""
    if not os.path.isfile(path):  # noqa: PTH113 - a pipe would be waited for without end
        return None
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return None


def common_rate(rates: list[float | None]) -> float | None:
    """The frame rate that all clips share, of nearly equal ones the most frequent; None where they differ."""
    known = [rate for rate in rates if rate]
    if not known or len(known) < len(rates):
        return None
    if max(known) - min(known) > SAME_RATE * max(known):
        return None
    return Counter(known).most_common(1)[0][0]


def _from_container(container: InputContainer, stream: VideoStream) -> Clip | None:
    """Count by the packets of an MP4 file; None where decoding could give another number."""
    if _codec(stream) is None:
        return None
    if "mp4" not in container.format.name.split(",") or stream.codec_context.name not in ("h264", "hevc"):
        return None
    hevc = stream.codec_context.name == "hevc"
    width = length_width(stream.codec_context.extradata, hevc=hevc)
    if width is None:
        return None
    first: VideoFrame | None = None
    packets = 0
    for packet in container.demux(stream):
        if packet.size:
            units = picture_units(bytes(packet), width, hevc=hevc)
            if not units or packet.is_discard or packet.is_corrupt:
                return None
            if packets == 0 and not starts_afresh(units, hevc=hevc):
                return None
            packets += 1
        if first is None:
            first = next(iter(packet.decode()), None)
    # Two fields of an interlaced frame may come in two packets.
    if first is None or first.interlaced_frame or packets != stream.frames:
        return None
    return Clip((first.width, first.height), packets, _rate(stream), _is_turned(first))


def _decoded(container: InputContainer, stream: VideoStream, limit: int | None) -> Clip:
    if _codec(stream) is None:
        raise UnreadableError("its codec is not known")
    first: VideoFrame | None = None
    frames = 0
    for frame in container.decode(stream):
        first = first or frame
        frames += 1
        if frames == limit:
            break
    if first is None:
        raise UnreadableError("no frame in it can be decoded")
    return Clip((first.width, first.height), frames, _rate(stream), _is_turned(first))


def _codec(stream: VideoStream) -> str | None:
    """None where FFmpeg has no decoder, which PyAV's own types do not tell of."""
    context: object = stream.codec_context
    return None if context is None else stream.codec_context.name


def _rate(stream: VideoStream) -> float | None:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def _is_turned(frame: VideoFrame) -> bool:
    return bool(getattr(frame, "rotation", 0))


def _read_folder(folder: Path) -> Clip:
    try:
        names = media_among(names_in(folder), "images")
    except OSError as problem:
        raise UnreadableError(problem.strerror or str(problem)) from problem
    if not names:
        raise UnreadableError("a folder without pictures")
    pictures = []
    for name in names:
        try:
            pictures.append(read_picture(folder / name))
        except UnreadableError as problem:
            raise UnreadableError(f"{name}: {problem}") from problem
    return Clip(pictures[0].size, len(pictures), None, any(picture.turned for picture in pictures))
