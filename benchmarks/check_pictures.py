"""How long `wan22lora check` takes over folders of pictures of real size, never seen and unchanged.

    python benchmarks/check_pictures.py [SIDE [ENDING…]]

Makes 10, 1,000 and 10,000 pictures of SIDE² (960), of each ENDING (jpg png) as many, and checks them three times:
`cold` with nothing known of them, `unchanged` right after that, and, of up to 1,000, `thorough`. The files are in the
page cache. Exits with 1 when 10,000 take 20 s or more cold, 3 s or more unchanged, or 300 MB; when 10,000
take more than 15 times as long as 1,000, the start of the program aside; or when a check misses what is in the folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import MIB, Cost, measure
from pictures import fill_apart

COUNTS = (10, 1_000, 10_000)
COLD_SECONDS, UNCHANGED_SECONDS, MOST_BYTES = 20.0, 3.0, 300_000_000
THOROUGH_UP_TO = 1_000
SETTLED = 2.5
"""Seconds after which what is seen of a file is kept."""


def check(home: Path, pictures: Path, *options: str) -> Cost:
    """Raises RuntimeError unless it saw every picture, and nothing wrong with them.

    Of thousands that are put together from the same strips, a few look alike.
    """
    cost = measure(["-m", "wan22lora", "check", str(pictures), "--json", *options], home)
    said = json.loads((home / "benchmark.log").read_text(encoding="utf-8"))
    kinds = {remark["kind"] for remark in said["remarks"]} - {"count", "not-decoded", "alike"}
    items = sum(dataset["items"] for dataset in said["forecast"]["datasets"])
    if kinds or items != len(list(pictures.iterdir())) // 2:
        raise RuntimeError(f"{items} pictures and {kinds} found")
    return cost


def row(count: int, side: int, endings: tuple[str, ...]) -> tuple[Cost, Cost]:
    with tempfile.TemporaryDirectory() as name:
        home, pictures = Path(name), Path(name) / "pictures"
        size = fill_apart(pictures, count, side, endings)
        subprocess.run(["sync"], check=False)
        time.sleep(SETTLED)
        cold = check(home, pictures)
        unchanged = min((check(home, pictures) for _ in range(3)), key=lambda cost: cost.seconds)
        text = f"{count:>6,} pictures, {size / 1e9:.1f} GB: cold {cold}; unchanged {unchanged}"
        if count <= THOROUGH_UP_TO:
            text += f"; thorough {check(home, pictures, '--thorough')}"
        print(text, flush=True)
    return cold, unchanged


def main() -> int:
    side = int((sys.argv[1:] or ["960"])[0])
    endings = tuple(sys.argv[2:]) or ("jpg", "png")
    costs = [row(count, side, endings) for count in COUNTS]
    start = costs[0][1].seconds
    cold, unchanged = costs[-1]
    per_picture = [(each.seconds - start) / count for (each, _), count in zip(costs, COUNTS, strict=True)]
    print(f"{side}² {' '.join(endings)}: " + ", ".join(f"{1000 * each:.2f} ms a picture" for each in per_picture[1:]))
    most = max(cost.peak for pair in costs for cost in pair)
    print(f"most memory {most / MIB:.0f} MiB")
    quick = cold.seconds < COLD_SECONDS and unchanged.seconds < UNCHANGED_SECONDS
    return 0 if quick and most < MOST_BYTES and per_picture[2] < 1.5 * per_picture[1] else 1


if __name__ == "__main__":
    sys.exit(main())
