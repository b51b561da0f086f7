"""The key of a training holds what changes what is learned, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from wan22lora.musubi.contract import load_contract
from wan22lora.musubi.options import Option
from wan22lora.musubi.pins import DEFAULT
from wan22lora.plan.prepared import Prepared
from wan22lora.plan.trainer_options import trainer_findings
from wan22lora.trainer.options import OPTIONS

BASE = "name: paper\npreset: style\nimages: ./pictures\ntrigger: paperworld\n"
PRESERVING = "preservation: {class: person"

Make = Callable[..., Prepared]


def key(prepared: Prepared, step_id: str = "train-high") -> Mapping[str, str]:
    return next(step.key for step in prepared.plan.steps if step.id == step_id)


@pytest.mark.parametrize(
    "more",
    [
        "train: {states: {every_minutes: 3, every_steps: 7, keep_last: 4}}",
        "train: {max_nan_steps: 9}",
        "trainer: plain",
        "stop_grace: 90",
        "on_oom: retry",
        "train: {blocks_to_swap: 9}",
        "musubi: {train: {log_with: tensorboard, logging_dir: logs, log_prefix: a}}",
    ],
)
def test_how_a_training_is_kept_and_watched_is_no_part_of_it(plan: Make, more: str) -> None:
    assert key(plan(f"{BASE}{more}\n")) == key(plan(BASE))


@pytest.mark.parametrize("more", ["every_steps: 7", "timesteps: 3"])
def test_how_often_it_is_validated_is_no_part_of_it(plan: Make, more: str) -> None:
    validated = f"{BASE}validation: {{hold_out: [00.png]"
    assert key(plan(f"{validated}, {more}}}\n")) == key(plan(f"{validated}}}\n"))


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        (
            "",
            f"train: {{{PRESERVING}}}}}",
            {"--preservation_weight", "preserved class", "pictures and captions"},
        ),
        (
            f"train: {{{PRESERVING}}}}}",
            "train: {preservation: {class: woman}}",
            {"preserved class", "pictures and captions"},
        ),
        (f"train: {{{PRESERVING}}}}}", f"train: {{{PRESERVING}, weight: 2}}}}", {"--preservation_weight"}),
        (f"train: {{{PRESERVING}}}}}", f"train: {{{PRESERVING}, every: 2}}}}", {"--preservation_every"}),
        (
            f"train: {{{PRESERVING}}}}}",
            f"train: {{{PRESERVING}, probability: 0.5}}}}",
            {"--preservation_probability"},
        ),
        ("", "train: {ema: {decay: 0.999}}", {"--ema_decay"}),
        ("", "validation: {hold_out: [00.png]}", {"held out", "pictures and captions"}),
        (
            "validation: {hold_out: [00.png]}",
            "validation: {hold_out: [01.png]}",
            {"held out", "pictures and captions"},
        ),
    ],
)
def test_what_changes_the_lora_or_its_files_is(plan: Make, before: str, after: str, parts: set[str]) -> None:
    old, new = key(plan(f"{BASE}{before}\n")), key(plan(f"{BASE}{after}\n"))
    assert {part for part in {**old, **new} if old.get(part) != new.get(part)} == parts


def test_what_one_expert_preserves_is_nothing_to_the_other(plan: Make) -> None:
    high_alone = plan(f"{BASE}experts: {{high: {{{PRESERVING}}}}}}}\n")
    assert key(high_alone, "train-low") == key(plan(BASE), "train-low")
    assert key(high_alone) != key(plan(BASE))


def test_the_average_is_a_result_of_its_own(plan: Make) -> None:
    step = next(step for step in plan(f"{BASE}train: {{ema: {{decay: 0.99}}}}\n").plan.steps if step.id == "train-low")
    assert [path.name for path in step.writes] == ["paper-low.safetensors", "paper-low-ema.safetensors"]


def test_every_option_of_the_extension_is_held_against_its_table(plan: Make) -> None:
    expert = plan(BASE).spec.experts[0]
    wrong = [Option("ledger", ("a",)), Option("ledger", ("a",)), Option("ema_decay", ("often",)), Option("statess")]
    said = " ".join(str(finding) for finding in trainer_findings(load_contract(DEFAULT), wrong, expert))
    for part in ("--ledger is given twice", "--ema_decay must be a number", "--statess is not", "--states is missing"):
        assert part in said
    given = [Option(option.name, (str(option.default or 1),)) for option in OPTIONS]
    assert list(trainer_findings(load_contract(DEFAULT), given, expert)) == []


def test_no_option_of_the_extension_is_one_of_musubis(plan: Make) -> None:
    assert not {f"--{option.name}" for option in OPTIONS} & set(load_contract(DEFAULT).programs["wan_train_network"])
