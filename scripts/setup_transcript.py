"""Print what `wan22lora setup --dry-run` says on a newcomer's machine without a GPU, for docs/fresh-box.md.

The plan is made for real, for a home where nothing is yet; what differs from machine to machine is set to a plain
desktop's. To put the transcript into the page:

    python scripts/setup_transcript.py docs/fresh-box.md
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

from wan22lora.machine.settings import read_machine
from wan22lora.machine.space import Space
from wan22lora.setup import room
from wan22lora.setup.build import plan_setup
from wan22lora.setup.interpreter import Interpreter
from wan22lora.setup.recorded import recorded
from wan22lora.setup.show import plan_as_text
from wan22lora.setup.survey import survey
from wan22lora.setup.weights import weights_step
from wan22lora.setup.wishes import Wishes

HOME = Path("/home/you")
DISTURBING = ("WAN22LORA_", "XDG_", "CUDA_")
TRANSCRIPT = re.compile(r"(?s)(?<=```text\n)\$ wan22lora setup --dry-run\n.*?(?=```)")


def transcript() -> str:
    """The command and what it prints."""
    for name in tuple(os.environ):
        if name.startswith(DISTURBING):
            del os.environ[name]
    os.environ["HOME"] = str(HOME)
    vars(room)["space_at"] = lambda folder: Space(folder, HOME, 1, 500 * 10**9, 200 * 10**9, True)
    machine, wishes = read_machine(), Wishes()
    python = Interpreter(Path("/usr/bin/python3.12"), (3, 12), True)
    found = replace(survey(machine.musubi, machine.python, None), git="2.43.0", uv="", interpreter=python)
    plan = plan_setup(wishes, found, machine, recorded(), weights_step(wishes, machine.models))
    return f"$ wan22lora setup --dry-run\n{plan_as_text(plan)}\n"


def main() -> None:
    if len(sys.argv) < 2:
        print(transcript(), end="")
        return
    page = Path(sys.argv[1])
    text, count = TRANSCRIPT.subn(lambda _: transcript(), page.read_text(encoding="utf-8"))
    if not count:
        sys.exit(f"{page} has no block that begins with: $ wan22lora setup --dry-run")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
