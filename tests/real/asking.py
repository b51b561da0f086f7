"""What runs in musubi-tuner's Python: scripts of inside/ that answer in JSON, and the trainer itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import wan22lora

TRAINER = Path(wan22lora.__file__).parent / "trainer"
INSIDE = Path(__file__).parent / "inside"


def ask(python: Path, environment: dict[str, str], script: str, place: Path, *argv: str | Path) -> dict[str, Any]:
    """Runs inside/`script`.py in the folder `place`; its answer is the last line that it prints."""
    said = _run([python, INSIDE / f"{script}.py", *argv], environment, place)
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


def run_trainer(python: Path, environment: dict[str, str], place: Path, *argv: str | Path) -> str:
    """Trains in the folder `place`, without the command line; what it printed."""
    return _run([python, TRAINER, *argv], environment, place)


def _run(command: list[str | Path], environment: dict[str, str], place: Path) -> str:
    ended = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
