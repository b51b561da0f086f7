"""Writes the option contract of a musubi-tuner checkout: what each of its Wan programs accepts.

    python scripts/contract.py CHECKOUT --python ENVPYTHON > contract.json

CHECKOUT is a git checkout of musubi-tuner, ENVPYTHON the Python of an environment with its dependencies; no
GPU is needed. The programs themselves are started, up to the point where they parse their arguments, so the
contract is what argparse holds and not what a reader of the source makes of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

PROGRAMS = (
    "wan_cache_latents",
    "wan_cache_text_encoder_outputs",
    "wan_train_network",
    "wan_generate_video",
    "convert_lora",
)
_SHIM = Path(__file__).parents[1] / "tests" / "real" / "environment" / "shim"
_INSIDE = "import musubi_on_cpu, contract; contract.print_contract()"


class _Parsing(BaseException):
    """Carries the parser out of a program; not an Exception, so that no program catches it."""


def capture_parser(program: Path) -> argparse.ArgumentParser:
    """Runs a program until it parses its arguments and returns its parser. Needs musubi's environment."""

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Parsing(parser)

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", stop),
        contextlib.redirect_stdout(sys.stderr),
    ):
        try:
            runpy.run_path(str(program), run_name="__main__")
        except _Parsing as parsing:
            parser: argparse.ArgumentParser = parsing.args[0]
            return parser
    raise RuntimeError(f"{program} ended without parsing its arguments")


def describe(action: argparse.Action) -> dict[str, Any]:
    """One option as the contract has it."""
    option = max(action.option_strings, key=len)
    if action.nargs == 0:
        return {"option": option, "kind": "flag"}
    entry = {"option": option, "kind": "value", "type": getattr(action.type, "__name__", "str")}
    if action.nargs is not None:
        entry["nargs"] = action.nargs
    if action.choices is not None:
        entry["choices"] = list(action.choices)
    entry["default"] = action.default
    if action.required:
        entry["required"] = True
    return entry


def contract_of(checkout: Path) -> dict[str, Any]:
    """The contract of all programs. Needs musubi's environment."""
    scripts = {}
    for program in PROGRAMS:
        parser = capture_parser(checkout / "src" / "musubi_tuner" / f"{program}.py")
        options = [describe(action) for action in parser._actions if action.option_strings and action.dest != "help"]
        scripts[program] = sorted(options, key=lambda entry: entry["option"])
    revision = subprocess.check_output(["git", "-C", checkout, "rev-parse", "HEAD"], text=True).strip()
    return {"revision": revision, "scripts": scripts}


def print_contract() -> None:
    """Prints the contract of the checkout in argv[1]. Needs musubi's environment."""
    print(json.dumps(contract_of(Path(sys.argv[1])), indent=1))


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the option contract of a musubi-tuner checkout as JSON.")
    parser.add_argument("checkout", type=Path, help="a git checkout of musubi-tuner")
    parser.add_argument("--python", type=Path, required=True, help="the Python of musubi's environment")
    args = parser.parse_args()
    checkout = args.checkout.resolve()
    paths = [Path(__file__).resolve().parent, _SHIM, checkout / "src"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUTF8": "1"}
    return subprocess.run([args.python, "-c", _INSIDE, checkout], env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
