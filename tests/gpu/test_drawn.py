"""Compiling leaves the random numbers alone: what an epoch's order is drawn from is the same with and without it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path


def test_compiled_blocks_draw_nothing(tmp_path: Path) -> None:
    ended = subprocess.run(
        [os.environ["WAN22LORA_MUSUBI_PYTHON"], Path(__file__).parent / "inside" / "ask_drawn.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(os.environ["WAN22LORA_MUSUBI"]) / "src"),
            "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kernels"),  # kept kernels would be taken, and nothing compiled
        },
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == {"drawn": False}
