"""The trainer's own options."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest

from wan22lora.trainer.options import OPTIONS, add_options

REQUIRED = ["--ledger", "events.jsonl", "--step_id", "train-high", "--states", "states"]


@pytest.fixture
def parser() -> ArgumentParser:
    parser = ArgumentParser(allow_abbrev=False)
    add_options(parser)
    return parser


def test_what_is_left_out_has_its_default(parser: ArgumentParser) -> None:
    parsed = vars(parser.parse_args(REQUIRED))
    assert {option.name: option.default for option in OPTIONS if option.default is not None}.items() <= parsed.items()
    assert parsed["states"] == Path("states")
    assert len(parsed) == len(OPTIONS)


@pytest.mark.parametrize("left_out", range(0, len(REQUIRED), 2))
def test_where_to_write_must_be_told(left_out: int, parser: ArgumentParser) -> None:
    with pytest.raises(SystemExit) as refused:
        parser.parse_args(REQUIRED[:left_out] + REQUIRED[left_out + 2 :])
    assert refused.value.code == 2


def test_every_option_is_parsed_in_its_type(parser: ArgumentParser) -> None:
    given = {option: option.choices[-1] if option.choices else "3" for option in OPTIONS}
    parsed = vars(parser.parse_args([word for option, text in given.items() for word in (f"--{option.name}", text)]))
    for option, text in given.items():
        assert parsed[option.name] == option.type(text), option.name
        assert isinstance(parsed[option.name], option.type)
