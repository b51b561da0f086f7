"""Print what `wan22lora doctor` says on a newcomer's machine without a GPU, for docs/fresh-box.md.

The facts are gathered for real, in a home where nothing is yet; those that differ from machine to machine are then
set to a plain desktop's. To put the transcript into the page:

    python scripts/doctor_transcript.py docs/fresh-box.md
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

from wan22lora.doctor.examine import examine
from wan22lora.doctor.facts import Facts, gather
from wan22lora.doctor.report import as_text
from wan22lora.machine.nvidia import Nvidia
from wan22lora.machine.ram import Ram
from wan22lora.machine.space import Space

HOME = Path("/home/you")
GB = 1_000_000_000
DISTURBING = ("WAN22LORA_", "XDG_", "HF_", "CUDA_", "ACCELERATE_", "HUGGINGFACE_", "TRANSFORMERS_")
TRANSCRIPT = re.compile(r"(?s)(?<=```text\n)\$ wan22lora doctor\n.*?(?=```)")


def transcript() -> str:
    """The command, what it prints, and its exit code."""
    return f"$ wan22lora doctor\n{as_text(examine(newcomers_facts()))}\n$ echo $?\n4\n"


def newcomers_facts() -> Facts:
    for name in tuple(os.environ):
        if name.startswith(DISTURBING):
            del os.environ[name]
    os.environ["HOME"] = str(HOME)
    facts = gather()

    def space(folder: Path, total: int, free: int) -> Space:
        return Space(folder, HOME, 1, total * GB, free * GB, True)

    return replace(
        facts,
        system="Linux",
        container=False,
        python=(3, 12, 3),
        git="2.43.0",
        variables={},
        nvidia=Nvidia(trouble="no driver"),
        ram=Ram(32 * GB, 27 * GB),
        shared_memory=space(Path("/dev/shm"), 16, 16),
        models_space=space(facts.machine.models, 500, 200),
        musubi_space=space(facts.machine.musubi, 500, 200),
    )


def main() -> None:
    if len(sys.argv) < 2:
        print(transcript(), end="")
        return
    page = Path(sys.argv[1])
    text, count = TRANSCRIPT.subn(lambda _: transcript(), page.read_text(encoding="utf-8"))
    if not count:
        sys.exit(f"{page} has no block that begins with: $ wan22lora doctor")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
