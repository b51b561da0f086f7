from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from wan22lora.errors import SpecError
from wan22lora.musubi.contract import Option, load_contract
from wan22lora.musubi.options import OWNED_OPTIONS
from wan22lora.musubi.pins import PINS
from wan22lora.musubi.programs import CACHE_LATENTS, CACHE_TEXT, TRAIN
from wan22lora.plan.prepared import Prepared

from ...argv import option_tokens

Make = Callable[..., Prepared]
BASE = "name: paper\npreset: article-wan22\nimages: ./pictures\n"
STEPS = {"cache-latents": CACHE_LATENTS, "cache-text": CACHE_TEXT, "train-low": TRAIN}
REFUSED = {
    *("dit_high_noise", "timestep_boundary", "offload_inactive_dit", "dim_from_weights", "config_file", "no_metadata"),
    *("huggingface_token", "wandb_api_key", "sage_attn", "show_timesteps"),
}


OTHERWISE_BY_THE_EXTENSION = {"resume", "resume_from_huggingface"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("pin", "trainer"), [(pin.name, "plain") for pin in PINS] + [("v0.3.4", "extension")], ids=lambda value: str(value)
)
def test_every_option_of_both_pins_can_be_given(plan: Make, pin: str, trainer: str, step: str) -> None:
    known = load_contract(next(each for each in PINS if each.name == pin)).programs[STEPS[step]]
    names = [name.removeprefix("--") for name in known]
    refused = REFUSED | (OTHERWISE_BY_THE_EXTENSION if trainer == "extension" else set())
    given = {name: example(known[f"--{name}"]) for name in names if name not in OWNED_OPTIONS | refused}
    text = f"{BASE}pin: {pin}\ntrainer: {trainer}\nmusubi: {{{step}: {json.dumps(given)}}}\n"
    argvs: dict[str, tuple[str, ...]] = {each.id: option_tokens(each.argv) for each in plan(text).plan.steps}
    for name in given:
        assert argvs[step].count(f"--{name}") == 1
        assert name == "vae_cache_cpu" or step != "train-low" or f"--{name}" not in argvs["train-high"]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("compil: false", "did you mean --compile?"),
        ("logging_dir: false", "takes a value"),
        ("compile: 1", "takes no value"),
        ("fp8_base: true", "its own key"),
        ("split_attn: [a]", "takes no value"),
        ("guidance_scale: true", "needs a value"),
        ("guidance_scale: word", "must be a number"),
        ("log_with: wand", "did you mean wandb?"),
        ("one_framee: true", "did you mean --one_frame?"),
        ("vae_tiling: true", "is not an option"),
    ],
)
def test_an_option_that_musubi_would_not_understand_is_refused_at_its_place(
    plan: Make, option: str, reason: str
) -> None:
    with pytest.raises(SpecError) as caught:
        plan(f"{BASE}musubi:\n  train:\n    {option}\n")
    for finding in caught.value.findings:
        assert finding.where == f"run.yaml:6:5 musubi.train.{option.partition(':')[0]}"
        assert reason in f"{finding.message} {finding.fix}"
    assert len(caught.value.findings) == 1


def test_a_value_that_starts_with_a_dash_stays_a_value(plan: Make) -> None:
    argv = plan(f"{BASE}musubi: {{train: {{log_prefix: -x}}}}\n").plan.steps[-1].argv
    assert "--log_prefix=-x" in argv


def example(option: Option) -> Any:
    if option.kind == "flag":
        return True
    if option.choices:
        return option.choices[-1]
    one: Any = {"int": 3, "float": 0.5, "int_or_float": 0.5}.get(option.type or "", "word")
    return [one, one] if option.nargs == "*" else one
