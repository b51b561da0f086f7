"""The options of a program, parsed by argparse as musubi-tuner's own parser at the pinned revision does."""

from __future__ import annotations

import argparse
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wan22lora.musubi.contract import Option, load_contract
from wan22lora.musubi.pins import pin_named
from wan22lora.rehearsal.session import Session
from wan22lora.trainer.options import REFUSED, add_options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse(program: str, argv: Sequence[str], session: Session) -> Namespace:
    """Exits with 2 and argparse's message for what the program does not know."""
    parser = ArgumentParser(prog=f"{program}.py")
    for option in load_contract(pin_named(session.pin)).programs[program].values():
        _add(parser, option)
    args = parser.parse_args(argv)
    return _with_config_file(args, parser, argv, session)


def parse_for_extension(argv: Sequence[str], session: Session) -> Namespace:
    """The same for the trainer extension, which takes musubi's options and its own."""
    parser = ArgumentParser(prog="trainer")
    for option in load_contract(pin_named(session.pin)).programs["wan_train_network"].values():
        _add(parser, option)
    add_options(parser)
    args = parser.parse_args(argv)
    for name, reason in REFUSED.items():
        if getattr(args, name, None):
            parser.error(f"--{name}: {reason}")
    return args


def _add(parser: ArgumentParser, option: Option) -> None:
    if option.kind == "flag":
        parser.add_argument(option.name, action="store_true")
        return
    parser.add_argument(
        option.name,
        type=_READERS[option.type or "str"],
        choices=option.choices or None,
        nargs=option.nargs,
        # A default given as text goes through the type, as in musubi's parser: alpha 1 becomes 1.0.
        default=str(option.default) if option.type == "float" and option.default is not None else option.default,
        required=option.required,
    )


def _int_or_float(text: str) -> int | float:
    """training/parser_common.py:20-32."""
    try:
        number = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        wanted = "a valid percentage" if text.endswith("%") else "an int or float"
        raise ArgumentTypeError(f"{text!r} is not {wanted}") from None
    whole = number >= 1 and number.is_integer() and not text.endswith("%")
    return int(number) if whole else number


_READERS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "Path": Path,
    "int_or_float": _int_or_float,
}


def _with_config_file(args: Namespace, parser: ArgumentParser, argv: Sequence[str], session: Session) -> Namespace:
    """`--config_file`: unknown keys and wrong types pass without a word (training/parser_common.py:780-811)."""
    file: str | None = getattr(args, "config_file", None)
    if not file:
        return args
    path = Path(file if file.endswith(".toml") else f"{file}.toml")
    if not path.exists():
        session.console.info("options", f"{path} not found.")
        raise SystemExit(1)
    values: dict[str, Any] = {}
    for name, section in tomllib.loads(path.read_text(encoding="utf-8")).items():
        values |= section if isinstance(section, dict) else {name: section}
    return parser.parse_args(argv, namespace=argparse.Namespace(**values))
