"""How long a plan takes, and how much memory: on 10, 1,000 and 10,000 pictures, unknown and unchanged.

    python benchmarks/planning.py [RUNS [SIDE]]

`cold` is `train --rehearse --dry-run` on a folder that no run has seen, `unchanged` a `train --rehearse` that finds
everything done, `first run` the one that did it (its stand-in programs make every cache file), and `check` is `doctor
RUN.YAML`. The pictures are small PNGs, or of SIDE², half JPEG and half PNG. Seconds are medians. Exits with 1 when
10,000 pictures take 20 s of CPU or more cold, 3 s or more unchanged, 15 times as much in the first run as 1,000, the
start of the program aside, or more than 150 MB in a run and 300 MB in a check.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import MIB, Cost, measure, median_of
from pictures import fill_apart
from PIL import Image

COUNTS = (10, 1_000, 10_000)
COLD_SECONDS, UNCHANGED_SECONDS = 20.0, 3.0
RUN_BYTES, CHECK_BYTES = 150_000_000, 300_000_000
SHAPES = ((96, 96), (80, 112), (112, 80))
QUICK = {"WAN22LORA_REHEARSAL_STEP_SECONDS": "0"}


def make_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        data = io.BytesIO()
        Image.new("RGB", SHAPES[number % 3], (number % 256, number // 256, 40)).save(data, "PNG")
        (folder / f"{number:05d}.png").write_bytes(data.getvalue())
        (folder / f"{number:05d}.txt").write_text(f"paperworld, picture {number}\n", encoding="utf-8")


def wan22lora(folder: Path, *words: str) -> Cost:
    return measure(["-m", "wan22lora", *words], folder, QUICK)


def check(folder: Path) -> Cost:
    """`doctor` exits with 4 where musubi-tuner is not installed; that is no failure here."""
    code = "import runpy, sys\ntry: runpy.run_module('wan22lora', run_name='__main__')\nexcept SystemExit: pass"
    return measure(["-c", code, "doctor", "run.yaml"], folder)


def row(count: int, runs: int, folder: Path, side: int | None) -> tuple[Cost, Cost, Cost, Cost]:
    if side is None:
        make_pictures(folder / "pictures", count)
    else:
        fill_apart(folder / "pictures", count, side)
    text = "name: paper\npreset: article-wan22\nimages: pictures\ntrain: {steps: 2}\n"
    (folder / "run.yaml").write_text(text, encoding="utf-8")
    cold = median_of(runs, lambda: wan22lora(folder, "train", "run.yaml", "--rehearse", "--dry-run"))
    first = wan22lora(folder, "train", "run.yaml", "--rehearse")
    unchanged = median_of(runs, lambda: wan22lora(folder, "train", "run.yaml", "--rehearse"))
    if "nothing to do" not in (folder / "benchmark.log").read_text(encoding="utf-8"):
        raise RuntimeError("the second run found something to do")
    return cold, first, unchanged, median_of(runs, lambda: check(folder))


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    side = int(sys.argv[2]) if len(sys.argv) > 2 else None
    subprocess.run(["sync"], check=False)
    firsts: list[float] = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            cold, first, unchanged, checked = row(count, runs, Path(folder), side)
        print(
            f"{count:>6,} pictures: cold {cold}; first run {first}; unchanged {unchanged}; check {checked}", flush=True
        )
        firsts.append(first.cpu_seconds)
    most = max(cold.peak, first.peak, unchanged.peak)
    print(f"of {runs} runs; most memory of a run {most / MIB:.0f} MiB, of a check {checked.peak / MIB:.0f} MiB")
    quick = cold.cpu_seconds < COLD_SECONDS and max(unchanged.cpu_seconds, checked.cpu_seconds) < UNCHANGED_SECONDS
    quick = quick and firsts[2] - firsts[0] < 15 * (firsts[1] - firsts[0])
    return 0 if quick and most < RUN_BYTES and checked.peak < CHECK_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
