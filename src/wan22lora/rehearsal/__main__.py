"""`python -m wan22lora.rehearsal <a command of the plan>`: the stand-in for the program that the command starts.

The command is the real one, token for token: musubi-tuner's Python, perhaps accelerate's launcher, the script, its
options. Neither that Python nor the script needs to exist.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from wan22lora.rehearsal.session import Session

Run = Callable[[Namespace, Session], None]

_LAUNCHER = ["-m", "accelerate.commands.launch"]
_EXTENSION = ("wan22lora", "trainer")
"""The end of the path of the trainer extension's folder."""
_IDS = {
    "wan_cache_latents": "cache-latents",
    "wan_cache_text_encoder_outputs": "cache-text",
    "wan_train_network": "train",
    "trainer": "train",
}


def main(argv: Sequence[str]) -> int:
    python, *rest = argv or [""]
    if rest[:2] == _LAUNCHER:
        from wan22lora.rehearsal.launcher import launch

        Session.from_environment("train").faults.on_launch()
        return launch(python, rest[2:])
    program = _program(Path(rest[0])) if rest else ""
    if program not in _IDS:
        raise SystemExit(f"usage: python -m wan22lora.rehearsal PYTHON [{' '.join(_LAUNCHER)} …] SCRIPT …")
    session = Session.from_environment(_IDS[program])
    name = "wan22lora's trainer in" if program == "trainer" else f"{program}.py of"
    session.console.rehearsal(
        f"a stand-in for {name} musubi-tuner ({session.pin}). Nothing is encoded, nothing is trained."
    )
    _run(program, rest[1:], session)
    return 0


def _run(program: str, options: Sequence[str], session: Session) -> None:
    from wan22lora.rehearsal.options import parse, parse_for_extension

    args = parse_for_extension(options, session) if program == "trainer" else parse(program, options, session)
    session.faults.on_start()
    _stand_in(program)(args, session)


def _program(script: Path) -> str:
    """The stem of a script of musubi's, or `trainer`; anything else is no program of the plan."""
    if script.parts[-2:] == _EXTENSION:
        return "trainer"
    return "" if script.stem == "trainer" else script.stem


def _stand_in(program: str) -> Run:
    if program == "trainer":
        from wan22lora.rehearsal.extension import train_with_extension

        return train_with_extension
    if program == "wan_train_network":
        from wan22lora.rehearsal.train import train

        return train
    from wan22lora.rehearsal.cache import cache_latents, cache_text

    return cache_latents if program == "wan_cache_latents" else cache_text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
