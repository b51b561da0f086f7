from __future__ import annotations

import argparse
import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wan22lora.musubi.contract import Contract, Option, load_contract
from wan22lora.musubi.pins import ARTICLE, PINS, V0_3_4, Pin

TRAIN = "wan_train_network"


def messages(argv: list[str], program: str = TRAIN, pin: Pin = V0_3_4) -> list[str]:
    return [str(problem) for problem in load_contract(pin).problems(program, argv)]


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: pin.name)
def test_the_contract_is_that_of_its_pin_and_knows_the_three_programs(pin: Pin) -> None:
    contract = load_contract(pin)
    assert contract.revision == pin.revision
    assert {"wan_cache_latents", "wan_cache_text_encoder_outputs", TRAIN} <= set(contract.programs)
    assert load_contract(pin) is contract


def test_options_carry_type_choices_default_and_count() -> None:
    options = load_contract(V0_3_4).programs[TRAIN]
    assert options["--sdpa"] == Option("--sdpa", "flag", None)
    assert options["--learning_rate"] == Option("--learning_rate", "value", "float", default=2e-6)
    assert options["--optimizer_args"].nargs == "*"
    assert options["--mixed_precision"].choices == ("no", "fp16", "bf16")
    assert options["--lr_warmup_steps"].type == "int_or_float"
    assert load_contract(ARTICLE).programs[TRAIN]["--lr_warmup_steps"].type == "int_or_float"
    assert options["--dataset_config"].type == "Path"


def test_a_good_command_line_has_no_problems() -> None:
    argv = "--task t2v-A14B --sdpa --mixed_precision=fp16 --learning_rate 3e-4 --optimizer_args a=1 b=2"
    argv += " --network_dim 16 --lr_warmup_steps 5% --lr_scheduler_min_lr_ratio=5e-5 --base_weights"
    assert messages(argv.split()) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--learning-rate 1", "--learning-rate is not an option of {train} at v0.3.4; did you mean --learning_rate?"),
        ("--networkdim 1", "--networkdim is not an option of {train} at v0.3.4; did you mean --network_dim?"),
        ("--learning 1e-4", "--learning is not an option of {train} at v0.3.4"),
        ("--skip_existing", "--skip_existing is an option of wan_cache_latents, not of {train}"),
        ("--network_dim sixteen", "--network_dim must be a whole number, not 'sixteen'"),
        ("--network_dim 16.0", "--network_dim must be a whole number, not '16.0'"),
        ("--learning_rate fast", "--learning_rate must be a number, not 'fast'"),
        ("--lr_warmup_steps x%", "--lr_warmup_steps must be a number of steps, a ratio below 1, or a percentage"),
        ("--mixed_precision fp8", "--mixed_precision must be one of no, fp16, bf16, not 'fp8'"),
        ("--timestep_sampling sigmod", "--timestep_sampling must be one of sigma, uniform, sigmoid"),
        ("--sdpa true", "--sdpa is a flag and takes no value; remove 'true'"),
        ("--sdpa=true", "--sdpa is a flag and takes no value; remove 'true'"),
        ("--sdpa=", "--sdpa is a flag and takes no value; remove ''"),
        ("--network_dim", "--network_dim needs a value"),
        ("--network_dim --sdpa", "--network_dim needs a value"),
        ("--seed 1 2", "--seed takes 1 value; '2' is too much"),
        ("--seed=1 2", "--seed takes 1 value; '2' is too much"),
        ("--optimizer_args=a=1 b=2", "--optimizer_args takes 1 value; 'b=2' is too much"),
        ("--seed 1 --seed 1", "--seed is given twice"),
        ("stray --sdpa", "stray stands where an option is expected"),
    ],
)
def test_each_mistake_is_named(line: str, expected: str) -> None:
    (message,) = messages(line.split())
    assert message.startswith(expected.format(train=TRAIN))


def test_a_near_choice_is_suggested() -> None:
    (message,) = messages(["--timestep_sampling", "sigmod"])
    assert message.endswith("not 'sigmod'; did you mean sigmoid?")


def test_required_options_are_asked_for() -> None:
    assert messages([], "wan_cache_text_encoder_outputs") == [
        "--dataset_config is missing; wan_cache_text_encoder_outputs does not start without it",
        "--t5 is missing; wan_cache_text_encoder_outputs does not start without it",
    ]


def test_several_values_are_counted() -> None:
    argv = ["--save_path", "x", "--video_size"]
    assert messages([*argv, "480", "832"], "wan_generate_video") == []
    assert messages([*argv, "480"], "wan_generate_video") == ["--video_size needs 2 values with spaces between them"]
    assert messages(["--save_path", "x", "--video_size=480"], "wan_generate_video") == [
        "--video_size needs 2 values with spaces between them"
    ]
    assert messages([*argv, "1", "2", "3"], "wan_generate_video") == ["--video_size takes 2 values; '3' is too much"]


def test_an_option_that_only_another_pin_has_is_refused_by_name() -> None:
    assert messages(["--save_precision", "bf16"], pin=V0_3_4) == []
    assert messages(["--save_precision", "bf16"], pin=ARTICLE) == [
        "--save_precision exists at v0.3.4 but not at article"
    ]
    assert messages(["--timestep_sampling", "logsnr"], pin=ARTICLE) == [
        "--timestep_sampling takes 'logsnr' at v0.3.4 only"
    ]


def test_all_problems_come_at_once() -> None:
    assert len(messages(["--no_such", "--seed", "x", "--sdpa", "1", "--mixed_precision", "int4"])) == 4


@pytest.mark.parametrize("value", ["-1", "-0.5", "-.5", "- a sentence", "-", ""])
def test_values_that_look_like_options_but_are_none(value: str) -> None:
    assert messages(["--training_comment", value]) == []


def test_a_negative_number_in_scientific_notation_needs_the_equals_form() -> None:
    assert messages(["--logit_mean=-1e-4"]) == []
    assert [message.split()[0] for message in messages(["--logit_mean", "-1e-4"])] == ["--logit_mean", "-1e-4"]


def test_percentages_and_ratios_are_read_as_musubi_reads_them() -> None:
    option = load_contract(V0_3_4).programs[TRAIN]["--lr_warmup_steps"]
    assert [option.read(text) for text in ("5%", "100", "0.05", "1.5", "2.0")] == [0.05, 100, 0.05, 1.5, 2]
    assert isinstance(option.read("2.0"), int)


def argparse_accepts(contract: Contract, program: str, argv: list[str]) -> bool:
    """The same contract as a real argparse parser, built in musubi's way."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # newer Pythons take more for a negative number; musubi runs on 3.10 to 3.12
    parser._negative_number_matcher = re.compile(r"^-\d+$|^-\d*\.\d+$")
    types: dict[str, Callable[[str], object]] = {
        "str": str,
        "int": int,
        "float": float,
        "Path": Path,
        "int_or_float": _int_or_float,
    }
    for option in contract.programs[program].values():
        if option.kind == "flag":
            parser.add_argument(option.name, action="store_true")
        else:
            parser.add_argument(
                option.name,
                type=types[option.type or "str"],
                nargs=option.nargs,
                choices=option.choices or None,
                required=option.required,
            )
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            parser.parse_args(argv)
        except SystemExit:
            return False
    return True


def _int_or_float(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


_names = st.sampled_from([
    "--sdpa", "--network_dim", "--learning_rate", "--optimizer_args", "--mixed_precision", "--lr_warmup_steps",
    "--base_weights_multiplier", "--training_comment", "--dataset_config", "--no_such", "-x", "stray",
])  # fmt: skip
_values = st.one_of(
    st.sampled_from(
        ["16", "3e-4", "-1", "-1e-4", "-.5", "5%", "%", "fp16", "a=1", "", "-", "- x", "nan", "1_0", " 7 "]
    ),
    st.text(alphabet="-=%.e0123456789 x", max_size=6),
)
_use = st.one_of(
    st.tuples(_names, _values).map(lambda pair: [f"{pair[0]}={pair[1]}"]),
    st.tuples(_names, st.lists(_values, max_size=3)).map(lambda pair: [pair[0], *pair[1]]),
)


@given(st.lists(_use, max_size=3, unique_by=lambda use: use[0].partition("=")[0]))
def test_a_command_line_is_accepted_exactly_when_argparse_accepts_it(uses: list[list[str]]) -> None:
    argv = [word for use in uses for word in use]
    assume(not any(word == "--" or word.endswith("=--") for word in argv))  # argparse drops it, we refuse it
    contract = load_contract(V0_3_4)
    problems = contract.problems(TRAIN, argv)
    if not any("twice" in problem.message for problem in problems):
        assert (problems == []) == argparse_accepts(contract, TRAIN, argv)
