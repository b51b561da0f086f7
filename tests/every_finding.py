"""A run in whose datasets everything is wrong that `check` has a word for: whatever shows findings is held to all."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

TRIGGER = "painting"
HOSTILE_NAME = "<script>alert('name')&quot;<!--.png"
HOSTILE_CAPTION = "painting, </script><script>document.title='taken'</script><img src=x onerror=alert(1)> <!-- &amp;"


def make(place: Path) -> Path:
    """Draws everything into a folder of this place and returns the run.yaml. Needs a file system as Linux has it."""
    run = place / "every"
    run.mkdir()
    _pictures(run / "pictures")
    _fit(run / "fit")
    _lists(run)
    _numbers(run / "numbers")
    _clips(run / "clips")
    _short_clips(run / "short")
    (run / "empty").mkdir()
    (run / "file").write_text("a file", encoding="utf-8")
    (run / "loop").symlink_to(run / "loop")
    _picture(run / "runs" / "every" / "cache" / "10", "a.png")
    file = run / "run.yaml"
    file.write_text(RUN, encoding="utf-8")
    return file


RUN = f"""name: every
preset: character
trigger: {TRIGGER}
validation: {{hold_out: [nobody.png]}}
data: {{resolution: [128, 128]}}
datasets:
  - images: pictures
  - {{images: fit, bucket_no_upscale: true}}
  - {{images: numbers, repeats: 9, batch_size: 5, bucket: false, resolution: [96, 96]}}
  - {{videos: clips, frames: [9], source_fps: as-is, batch_size: 2, bucket: false}}
  - {{videos: short, frames: [81]}}
  - {{videos: slow, frames: [5], source_fps: 12}}
  - {{images: nowhere}}
  - {{images: empty}}
  - {{images: file}}
  - {{images: loop}}
  - {{images: runs/every/cache/10}}
  - {{image_jsonl: list.jsonl}}
  - {{image_jsonl: nothing.jsonl}}
  - {{image_jsonl: empty.jsonl}}
  - {{image_jsonl: latin.jsonl}}
  - {{videos: rates, frames: [5]}}
"""


def drawn(name: str, size: tuple[int, int] = (128, 128)) -> Image.Image:
    """Rectangles whose place and colour come from the name."""
    chance = random.Random(ascii(name))
    picture = Image.new("RGB", (256, 256), tuple(chance.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(24):
        x, y = chance.randrange(220), chance.randrange(220)
        colour = tuple(chance.randrange(256) for _ in range(3))
        draw.rectangle((x, y, x + chance.randrange(20, 90), y + chance.randrange(20, 90)), fill=colour)
    return picture.resize(size)


def _picture(
    folder: Path,
    name: str,
    size: tuple[int, int] = (128, 128),
    mode: str = "RGB",
    caption: str | None = "",
    seed: str = "",
    **options: Any,
) -> Path:
    """A picture, and its caption: one of its own for the empty text, none for None."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    drawn(seed or name, size).convert(mode).save(path, **options)
    if caption is not None:
        text = caption or f"{TRIGGER}, this is {path.stem!a}"
        (folder / f"{path.name[: -len(path.suffix)]}.txt").write_text(text, encoding="utf-8")
    return path


def _pictures(folder: Path) -> None:
    """What files and captions can be."""
    _picture(folder, "a good one.png")
    _picture(folder, HOSTILE_NAME.replace("/", ""), caption=HOSTILE_CAPTION)
    exif = Image.Exif()
    exif[0x0112] = 6
    portrait = drawn("rotated", (96, 160))
    portrait.paste((250, 30, 30), (0, 0, 96, 30))  # its upper edge, stored on the left
    portrait.transpose(Image.Transpose.ROTATE_90).save(folder / "rotated.jpg", exif=exif)
    (folder / "rotated.txt").write_text("painting, a red sky above", encoding="utf-8")
    _picture(folder, "animated.webp", save_all=True, append_images=[drawn("next")])
    _picture(folder, "cmyk.jpg", mode="CMYK")
    clear = drawn("clear").convert("RGBA")
    clear.paste((0, 0, 0, 0), (30, 30, 90, 90))
    clear.save(_picture(folder, "transparent.png"))
    _picture(folder, "same.png", seed="a good one.png")
    Image.new("I;16", (128, 128), 30000).save(_picture(folder, "grey.png"))
    damaged = _picture(folder, "damaged.png")
    content = bytearray(damaged.read_bytes())
    at = content.index(b"IDAT") + 12
    content[at : at + 200] = bytes(200)
    damaged.write_bytes(content)
    cut = _picture(folder, "cut off.jpg")
    cut.write_bytes(cut.read_bytes()[:400])
    _picture(folder, "twice.png")
    _picture(folder, "twice.jpg", seed="twice too")
    _picture(folder, f"{'long' * 60}.png")
    _picture(folder, "no text \udcff.png")
    _picture(folder, "unseen.Png")
    _picture(folder, ".hidden.png", caption=None)
    _picture(folder / "more", "deeper.png")
    (folder / "Thumbs.db").write_bytes(b"")
    (folder / "nothing.txt").write_text("painting, a caption of nothing", encoding="utf-8")

    _picture(folder, "no caption.png", caption=None)
    _picture(folder, "empty caption.png", caption=" ")
    _picture(folder, "latin.png", caption=None)
    (folder / "latin.txt").write_bytes("painting, café".encode("latin-1"))
    _picture(folder, "closed.png", caption=None)
    (folder / "closed.txt").symlink_to("/proc/self/mem")  # a file that even root cannot read from its beginning
    _picture(folder, "mark.png", caption="\ufeffpainting, a byte order mark")
    for name in ("equal one.png", "equal other.png"):
        _picture(folder, name, caption="painting, the same")
    _picture(folder, "talks.png", caption="painting, " + "a very long story about nothing much. " * 70)
    _picture(folder, "no trigger.png", caption="a caption without it")
    _picture(folder, "late.png", caption="this is a painting")
    for index, hair in enumerate(("brown", "brown", "blonde")):
        _picture(folder, f"hair {index}.png", caption=f"painting, a woman with {hair} hair {index}")
    _picture(folder, "marked.png", caption="painting, with a watermark")


def _fit(folder: Path) -> None:
    """How pictures fit, where small ones are not enlarged."""
    _picture(folder, "small.png", (15, 300))
    _picture(folder, "long.png", (1280, 128))


def _lists(run: Path) -> None:
    picture = _picture(run / "listed", "a.png")
    dotted = _picture(run / "listed", ".a.png")
    lines = [
        json.dumps({"image_path": str(picture), "caption": "painting, listed"}),
        json.dumps({"image_path": str(dotted), "caption": "painting, with a dot"}),
        json.dumps({"image_path": "listed/a.png", "caption": "painting, relative"}),
        json.dumps({"image_path": str(run / "listed" / "gone.png"), "caption": "painting, gone"}),
        json.dumps({"image_path": str(picture), "caption": "painting \ud83d"}),
        "no object",
    ]
    (run / "list.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (run / "empty.jsonl").write_bytes(b"")
    (run / "latin.jsonl").write_bytes("{é}".encode("latin-1"))


def _numbers(folder: Path) -> None:
    """Captions one number behind their pictures."""
    for number in range(1, 14):
        _picture(folder, f"{number:02d}.png", (64, 64) if number > 9 else (128, 128), caption=None)
        (folder / f"{number - 1:02d}.txt").write_text(f"painting, of number {number}", encoding="utf-8")


def _clips(folder: Path) -> None:
    moving = [_moved(index) for index in range(16)]
    _clip(folder, "moving.mp4", moving)
    _clip(folder, "turned.mp4", [frame.resize((96, 128)) for frame in moving])
    _clip(folder, "black.mp4", [Image.new("RGB", (128, 96))] * 16)
    _clip(folder, "begins black.mp4", [Image.new("RGB", (128, 96)), *moving])
    _clip(folder, "still.mp4", [drawn("still", (128, 96))] * 16)
    _clip(folder, "fast.mp4", [_moved(index) for index in range(60)], rate=30)
    _clip(folder, "short.mp4", moving[:4])


def _short_clips(folder: Path) -> None:
    _clip(folder, "short.mp4", [_moved(index) for index in range(16)])
    _clip(folder.parent / "slow", "slow.mp4", [_moved(index) for index in range(16)], rate=12)
    _clip(folder.parent / "slow", "other.mp4", [_moved(index) for index in range(16)], rate=24)
    for rate in (16, 25):
        _clip(folder.parent / "rates", f"{rate}.mp4", [_moved(index) for index in range(16)], rate=rate)


def _moved(index: int) -> Image.Image:
    frame = drawn("moving", (128, 96))
    frame.paste((255, 220, 0), (3 * index % 100, 30, 3 * index % 100 + 20, 50))
    return frame


def _clip(folder: Path, name: str, frames: Sequence[Image.Image], rate: int = 16) -> None:
    import av

    folder.mkdir(parents=True, exist_ok=True)
    as_frame: Any = av.VideoFrame.from_image
    with av.open(str(folder / name), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(as_frame(frame)))
        container.mux(stream.encode(None))
    seed = zlib.crc32(name.encode()) % 1000
    (folder / name).with_suffix(".txt").write_text(f"painting, a clip {seed} of {name}", encoding="utf-8")
