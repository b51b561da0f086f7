"""What a long run costs wan22lora itself: its memory while a trainer tells a million steps, and the reading of them.

    python benchmarks/long_ledger.py [STEPS]

A trainer that only tells its steps, as fast as it can and in the trainer extension's own words, is run by the real
runner; the memory is that of the larger of the two, which is the runner. The ledger that this leaves is then folded,
and shown by `wan22lora status` (medians of 5). Exits with 1 when the memory exceeds 150 MB, or a fold takes 5 s of CPU
or more (on a shared machine the other seconds are somebody else's).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from measure import MIB, Cost, measure, median_of

STEPS = 1_000_000
MOST_BYTES, MOST_SECONDS = 150_000_000, 5.0

TRAINER = """
import math, sys
from pathlib import Path
from wan22lora.trainer.events import Events
ledger, steps = Path(sys.argv[1]), int(sys.argv[2])
events = Events(ledger, "train-high")
events.emit("weights-loaded", seconds=30.0, ram_peak=30 << 30, gpu_peak=14 << 30, gpu_allocated=14 << 30)
events.emit("training-begun", step=0, total=steps, epoch=1, epochs=100, state=None)
for step in range(1, steps + 1):
    loss = 0.0781234567 + math.sin(step) / 50
    losses = {"diffusion": loss, "preservation": 0.00512345678}
    events.emit("train-step", step=step, total=steps, epoch=step * 100 // steps, loss=loss, seconds=1.113456, lr=2e-4,
                samples=1, losses=losses, gpu_peak=20312345678, gpu_reserved=21312345678)
events.emit("training-ended", step=steps, seconds=1.0)
"""

RUNNER = """
import os, sys
from pathlib import Path
from wan22lora.plan.model import Plan, Step
from wan22lora.run.folder import RunFolder
from wan22lora.run.runner import execute
from wan22lora.run.view import display_for
steps, folder = int(sys.argv[1]), RunFolder(Path("runs/paper").absolute())
argv = (sys.executable, "trainer.py", str(folder.events), str(steps))
step = Step("train-high", argv, Path.cwd(), {}, predicted_steps=steps, states=folder.states / "train-high")
plan = Plan("paper", folder.path, (), (step,))
execute(plan, folder, display=display_for(folder.path), verify=lambda _: (), again="again")
"""

FOLD = """
from pathlib import Path
from wan22lora.run.ledger import read_events
from wan22lora.run.state import fold
print(fold(read_events(Path("runs/paper/events.jsonl"))).steps["train-high"].step)
"""


def run(folder: Path, steps: int) -> Cost:
    (folder / "pictures").mkdir(parents=True)
    (folder / "run.yaml").write_text("name: paper\npreset: article-wan22\nimages: pictures\n", encoding="utf-8")
    (folder / "trainer.py").write_text(TRAINER, encoding="utf-8")
    return measure(["-c", RUNNER, str(steps)], folder)


def main() -> int:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    with tempfile.TemporaryDirectory() as root:
        few = run(Path(root) / "few", steps // 100)
        folder = Path(root) / "many"
        began = time.perf_counter()
        many = run(folder, steps)
        took = time.perf_counter() - began
        size = (folder / "runs" / "paper" / "events.jsonl").stat().st_size
        print(f"runner: {few.peak / MIB:.0f} MiB at {steps // 100:,} steps, {many.peak / MIB:.0f} MiB at {steps:,}")
        each = 1e6 * many.cpu_seconds / steps
        print(f"        {steps / took:,.0f} steps/s heard, {each:.0f} µs of CPU each, the trainer's included")
        folded = median_of(5, lambda: measure(["-c", FOLD], folder))
        status = median_of(5, lambda: measure(["-m", "wan22lora", "status", "run.yaml"], folder))
    print(f"ledger of {size / 1e6:.0f} MB: fold {folded}; wan22lora status {status}")
    quick = folded.cpu_seconds < MOST_SECONDS
    return 0 if quick and max(many.peak, folded.peak, status.peak) < MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
