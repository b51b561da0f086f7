"""A uv that knows what setup asks of it: quick, but slow enough between two files to be killed there.

`venv --allow-existing --python P DIR` and `pip install --python P …` with wheels from UV_FIND_LINKS.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import zipfile
from pathlib import Path


def make(base: str, folder: Path) -> None:
    for part in ("bin", "lib/site-packages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    time.sleep(0.02)
    # The packages are found because the wrapper adds their folder: a test's environment need not be a real one.
    program = f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{folder}/lib/site-packages" exec {base} "$@"\n'
    (folder / "bin" / "python").write_text(program, encoding="utf-8")
    (folder / "bin" / "python").chmod(0o755)
    time.sleep(0.02)
    (folder / "pyvenv.cfg").write_text("home = test\n", encoding="utf-8")


def install(python: Path, words: list[str]) -> None:
    site = python.parents[1] / "lib" / "site-packages"
    wheels = Path(os.environ["UV_FIND_LINKS"])
    if "-e" in words:
        checkout = words.pop(words.index("-e") + 1)
        (site / "musubi.json").write_text(json.dumps(checkout), encoding="utf-8")
        words.append("what_musubi_needs")
    for word in words:
        name, _, version = word.partition("==")
        for wheel in wheels.glob(f"{name}-{version or '*'}-*.whl") if re.match(r"[a-z]", name) else ():
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    archive.extract(member, site)
                    time.sleep(0.003)


if __name__ == "__main__":
    if sys.argv[1] == "venv":
        make(sys.argv[sys.argv.index("--python") + 1], Path(sys.argv[-1]))
    else:
        at = sys.argv.index("--python")
        install(Path(sys.argv[at + 1]), sys.argv[at + 2 :])
