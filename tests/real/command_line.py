"""The command line as a person types it, in a folder of its own, with the real musubi-tuner and the small models."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Finished:
    exit_code: int
    output: str
    seconds: float


@dataclass(frozen=True)
class CommandLine:
    """`python -m wan22lora` in `place`; the tokenizer lies beside the weights, as `setup` leaves it."""

    place: Path
    checkout: Path
    musubi_python: Path
    environment: dict[str, str]
    hub: Path

    def __post_init__(self) -> None:
        (self.place / "models").mkdir()
        (self.place / "models" / "hub").symlink_to(self.hub)
        (self.place / "machine.yaml").write_text("models: models\n", encoding="utf-8")

    def __call__(self, *argv: str) -> Finished:
        started = time.monotonic()
        with self.start(*argv) as process:
            output, _ = process.communicate()
        return Finished(process.returncode, output, time.monotonic() - started)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Both streams come in one, as text; the caller waits for the end."""
        own = {name: value for name, value in self.environment.items() if not name.startswith("HF_")}
        return subprocess.Popen(
            [sys.executable, "-m", "wan22lora", *argv],
            cwd=self.place,
            env={
                **own,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "WAN22LORA_MUSUBI": str(self.checkout),
                "WAN22LORA_MUSUBI_PYTHON": str(self.musubi_python),
                "WAN22LORA_MACHINE": str(self.place / "machine.yaml"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def predicted_steps(self, run_file: str = "run.yaml") -> list[int]:
        """The optimizer steps that a dry run tells, one number for each training."""
        planned = self("train", run_file, "--dry-run")
        assert planned.exit_code == 0, planned.output
        return [int(steps) for steps in re.findall(r"# train\S*: (\d+) optimizer steps", planned.output)]


def write_pictures(folder: Path, sizes: list[tuple[int, int]]) -> None:
    """PNG files of noise, 0.png and so on, with captions."""
    folder.mkdir()
    for index, size in enumerate(sizes):
        Image.effect_noise(size, 80).convert("RGB").save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"paperworld, number {index}\n", encoding="utf-8")


def write_clip(path: Path, frames: int, rate: int) -> None:
    """A clip whose frames differ, with a caption."""
    import av

    as_frame: Any = av.VideoFrame.from_image
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(as_frame(Image.new("RGB", (64, 64), (number * 20, 90, 60)))))
        container.mux(stream.encode(None))
    path.with_suffix(".txt").write_text("a thing walks\n", encoding="utf-8")
