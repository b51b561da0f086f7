"""Asks musubi-tuner's own parsers whether they accept an argument list."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

_PARSE_ARGUMENTS = Path(__file__).parent / "inside" / "parse_arguments.py"


def parse_only(
    python: Path, checkout: Path, program: str, argvs: list[list[str]], env: dict[str, str]
) -> list[str | None]:
    """One answer for each argument list: None when `program` accepts it, else argparse's message.

    `program` is a name such as "wan_train_network". One process parses all lists, as importing torch and
    musubi takes seconds and parsing takes none. Files named in the lists are not looked for. An unambiguous
    beginning of an option is accepted, as musubi leaves argparse's allow_abbrev on. Raises CalledProcessError
    when the program does not get as far as parsing.
    """
    with tempfile.TemporaryDirectory() as folder:
        questions = Path(folder) / "questions.json"
        questions.write_text(json.dumps(argvs), encoding="utf-8")
        source = checkout / "src" / "musubi_tuner" / f"{program}.py"
        env = env | {"PYTHONPATH": str(checkout / "src")}
        subprocess.run([python, _PARSE_ARGUMENTS, source, questions], env=env, check=True, cwd=folder)
        answers: list[str | None] = json.loads((Path(folder) / "answers.json").read_text(encoding="utf-8"))
    return answers
