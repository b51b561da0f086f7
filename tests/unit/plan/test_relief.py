"""The memory setting to try next, and how it is written into run.yaml."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wan22lora.plan.memory import FILLED, largest_batch, peak_gib
from wan22lora.plan.prepared import Prepared
from wan22lora.plan.relief import Relief, advice, next_relief
from wan22lora.spec.resolved import Spec

RUN = "name: a\npreset: style\nimages: pictures\nhardware: 24gb\ntrainer: plain\n"
Plan = Callable[..., Prepared]


def climbed(spec: Spec, step: str, tokens: int = 4000) -> list[str]:
    """The setting of every rung that is left, each applied before the next."""
    settings: list[str] = []
    while True:
        expert = next(each for each in spec.experts if each.step == step)
        relief = next_relief(expert, "first step", batch_tokens=tokens, usable_gib=spec.usable_gib)
        if relief is None:
            return settings
        settings.append(relief.setting)
        spec = relief.applied(spec)


def first(spec: Spec, *, tokens: int = 0) -> Relief | None:
    return next_relief(spec.experts[0], "training", batch_tokens=tokens, usable_gib=spec.usable_gib)


def test_the_ladder_from_nothing_to_everything(plan: Plan) -> None:
    spec = plan(f"{RUN}train: {{gradient_checkpointing: false, blocks_to_swap: 10}}\n").spec
    assert climbed(spec, "train-high") == [
        "gradient_checkpointing: true",
        "blocks_to_swap: 18",
        "blocks_to_swap: 26",
        "blocks_to_swap: 34",
        "blocks_to_swap: 38",
        "gradient_checkpointing_cpu_offload: true",
    ]


def test_a_batch_that_needs_more_blocks_gets_them_at_once(plan: Plan) -> None:
    prepared = plan(f"{RUN}data: {{batch_size: 4}}\n")
    tokens = largest_batch(prepared.trained)
    relief = first(prepared.spec, tokens=tokens)
    assert relief is not None
    assert relief.change == {"blocks_to_swap": 28}
    assert prepared.spec.usable_gib is not None
    assert peak_gib(tokens, 28) <= FILLED * prepared.spec.usable_gib < peak_gib(tokens, 27)


def test_without_a_known_card_eight_blocks_more_are_tried(plan: Plan) -> None:
    spec = plan("name: a\npreset: style\nimages: pictures\n").spec
    relief = next_relief(spec.experts[0], "training", batch_tokens=10**6, usable_gib=None)
    assert relief is not None
    assert relief.change == {"blocks_to_swap": 8}


def test_checkpointing_does_nothing_for_weights_that_do_not_load(plan: Plan) -> None:
    spec = plan(f"{RUN}train: {{gradient_checkpointing: false, blocks_to_swap: 38}}\n").spec
    assert next_relief(spec.experts[0], "loading", batch_tokens=0, usable_gib=20) is None


@pytest.mark.parametrize(
    ("more", "line", "changed"),
    [
        ("", "train: {blocks_to_swap: 12}", ["train-high", "train-low"]),
        ("train: {}", "blocks_to_swap: 12 under train: (run.yaml line 6)", ["train-high", "train-low"]),
        ("train: {seed: 3}", "blocks_to_swap: 12 under train: (run.yaml line 6)", ["train-high", "train-low"]),
        (
            "train:\n  seed: 3\n  blocks_to_swap: 4",
            "blocks_to_swap: 12 under train: (run.yaml line 8)",
            ["train-high", "train-low"],
        ),
        (
            "experts: {high: {blocks_to_swap: 2}}",
            "blocks_to_swap: 10 under experts: high: (run.yaml line 6)",
            ["train-high"],
        ),
    ],
)
def test_the_line_stands_where_the_setting_stands(plan: Plan, more: str, line: str, changed: list[str]) -> None:
    spec = plan(f"{RUN}{more}\n").spec
    relief = first(spec)
    assert relief is not None
    assert relief.line == line
    after = relief.applied(spec)
    assert [
        new.step for new, old in zip(after.experts, spec.experts, strict=True) if new.settings != old.settings
    ] == changed


def test_the_advice_names_the_line_to_write_and_the_setting_that_writes_it(plan: Plan) -> None:
    spec = plan(f"{RUN}train: {{blocks_to_swap: 6}}\n").spec
    told = advice(first(spec), spec.experts[0])
    assert told.where == "run.yaml:6:9 train.blocks_to_swap"
    assert told.fix.startswith("blocks_to_swap: 14 under train: (run.yaml line 6); with on_oom: retry")


def test_the_end_of_the_ladder_says_what_else_helps(plan: Plan) -> None:
    spec = plan(RUN).spec
    assert "data.batch_size: 1" in advice(None, spec.experts[0]).fix
    assert "fp8_base" not in advice(None, spec.experts[0]).fix
    unquantised = plan(f"{RUN}train: {{fp8_base: false, fp8_scaled: false}}\n").spec
    assert (
        "fp8_base: true under train: (run.yaml line 6), which trains anew" in advice(None, unquantised.experts[0]).fix
    )


def test_no_rung_changes_what_a_training_depends_on(plan: Plan) -> None:
    before = plan(RUN)
    memory = "{gradient_checkpointing: false, blocks_to_swap: 38, gradient_checkpointing_cpu_offload: false}"
    after = plan(f"{RUN}train: {memory}\n")
    assert [step.key for step in after.plan.steps] == [step.key for step in before.plan.steps]
