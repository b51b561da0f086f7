"""How long `wan22lora check` takes over a folder of pictures that this makes, half JPEG and half PNG.

python benchmarks/check_pictures.py [PICTURES [SIDE]]
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SHAPES = 40
MASTERS = 50
"""Pictures drawn; the others are these, shifted and tinted, which costs less than drawing."""


def drawn(side: int, seed: int) -> Image.Image:
    """Something with edges, gradients and a little noise, so that it compresses as a photograph does."""
    chance = random.Random(seed)
    picture = Image.effect_noise((side, side), 12).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for _ in range(SHAPES):
        x, y = chance.randrange(side), chance.randrange(side)
        box = (x, y, x + chance.randrange(side // 2), y + chance.randrange(side // 2))
        draw.ellipse(box, fill=(chance.randrange(256), chance.randrange(256), chance.randrange(256)))
    noise = Image.effect_noise((side, side), 12).convert("RGB")
    return Image.blend(picture.filter(ImageFilter.GaussianBlur(2)), noise, 0.05)


def fill(folder: Path, count: int, side: int) -> None:
    for master in range(min(count, MASTERS)):
        picture = drawn(side, master)
        for index in range(master, count, MASTERS):
            shift = index // MASTERS * side // max(1, count // MASTERS)
            turned = Image.new("RGB", picture.size)
            turned.paste(picture.crop((shift, 0, side, side)), (0, 0))
            turned.paste(picture.crop((0, 0, shift, side)), (side - shift, 0))
            turned.save(folder / f"{index:05d}.{'jpg' if index % 2 else 'png'}", quality=92, compress_level=3)
            (folder / f"{index:05d}.txt").write_text(f"zxq, picture {index}", encoding="utf-8")


def main() -> None:
    count, side = int((sys.argv[1:] or ["1000"])[0]), int((sys.argv[2:] or ["960"])[0])
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), count, side)
        begun = time.monotonic()
        command = [sys.executable, "-m", "wan22lora", "check", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(done.stdout[-200:], done.stderr)
    print(f"{count} pictures of {side}²: {seconds:.1f} s, at most {peak:.0f} MiB, exit code {done.returncode}")


if __name__ == "__main__":
    main()
