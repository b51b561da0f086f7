from __future__ import annotations

import ast
import re

from hypothesis import given
from hypothesis import strategies as st

from wan22lora.musubi.options import argv_of, further_options, text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_reads_back_as_itself(value: float) -> None:
    assert float(text(value)) == value


def test_small_numbers_are_written_as_in_published_commands() -> None:
    assert [text(value) for value in (3e-4, 5e-5, 1.7e-5, 0.1, 1.0, 0, 16)] == [
        *("3e-4", "5e-5", "1.7e-5", "0.1", "1.0", "0", "16")
    ]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
        st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.just("word")),
        min_size=1,
    )
)
def test_arguments_come_back_from_musubis_way_of_reading_them(given_args: dict[str, object]) -> None:
    _, *values = argv_of(further_options({"optimizer_args": given_args}))
    read = {}
    for value in values:
        name, literal = value.split("=")
        read[name] = ast.literal_eval(literal)
    assert read == given_args


def test_flags_lists_and_absent_values() -> None:
    argv = argv_of(further_options({"on": True, "off": False, "gone": None, "several": [1, 2], "word": "x"}))
    assert argv == ("--on", "--several", "1", "2", "--word", "x")
    assert not any(re.search(r"\s", token) for token in argv)
