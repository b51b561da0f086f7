"""Questions to modules that run in musubi-tuner's Python: a script of inside/ answers in JSON."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

INSIDE = Path(__file__).parent / "inside"


def ask(python: Path, environment: dict[str, str], script: str, place: Path, *argv: str | Path) -> dict[str, Any]:
    """Runs inside/`script`.py in the folder `place`; its answer is the last line that it prints."""
    ended = subprocess.run(
        [python, INSIDE / f"{script}.py", *argv],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer
