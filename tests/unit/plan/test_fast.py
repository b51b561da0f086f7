"""What the trainer's own way of computing takes of the GPU, and what a plan says of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wan22lora.plan.fast_memory import BLOCKS, CHANNELS, CONSTANTS, Batch, fast_peak_gib, keepable_gib
from wan22lora.plan.memory import MOST_BLOCKS, peak_gib, tokens
from wan22lora.plan.model import Step
from wan22lora.plan.prepared import Prepared
from wan22lora.plan.training import differences
from wan22lora.spec.resolved import Kept

Make = Callable[..., Prepared]
BASE = "name: paper\npreset: style\nimages: ./pictures\ntrigger: paperworld\ndata: {resolution: 960}\n"
STILL = Batch(tokens(960, 960), 1)
CLIP = Batch(tokens(832, 480, 49), 1)

MEASURED = [  # docs/benchmarks.md
    ("fast", STILL, Kept(0.25), 20.5),
    ("fast", STILL, Kept(0.28), 20.9),
    ("fast", STILL, Kept(1.0), 31.3),
    ("fast", CLIP, Kept(0.15), 39.1),
    ("fast", STILL, Kept(everything=True, cast_once=True), 56.4),
    ("max", STILL, Kept(0.22), 19.73),
    ("max", STILL, Kept(1.0), 31.22),
    ("max", STILL, Kept(everything=True, cast_once=True), 56.45),
]


def trainings(prepared: Prepared) -> list[Step]:
    return [step for step in prepared.plan.steps if step.id.startswith("train")]


def option(step: Step, name: str) -> str | None:
    return step.argv[step.argv.index(name) + 1] if name in step.argv else None


def told(prepared: Prepared) -> list[str]:
    return [str(note) for note in prepared.plan.notes if "speed: " in note.message]


@pytest.mark.parametrize(("speed", "batch", "kept", "gib"), MEASURED)
def test_no_measured_training_takes_more_than_is_reckoned_with(
    speed: str, batch: Batch, kept: Kept, gib: float
) -> None:
    assert gib <= fast_peak_gib(CONSTANTS[speed], batch, kept) + 0.005 <= gib + 0.6


def test_nor_does_one_with_blocks_in_ram_nor_is_more_reckoned_than_musubis_modules_take() -> None:
    of_24 = fast_peak_gib(CONSTANTS["fast"], STILL, Kept(), 24)
    assert 9.15 <= of_24 <= 9.15 + 0.6  # docs/benchmarks.md
    for batch in (Batch(0, 0), STILL, CLIP):
        for blocks in range(1, MOST_BLOCKS + 1):
            assert fast_peak_gib(CONSTANTS["fast"], batch, Kept(), blocks) < peak_gib(batch.tokens, blocks)


@pytest.mark.parametrize("speed", CONSTANTS)
def test_a_token_is_reckoned_with_all_that_one_block_makes_of_it(speed: str) -> None:
    """So that a block may be computed again as a whole, as those in RAM are."""
    constants = CONSTANTS[speed]
    of_inputs = BLOCKS * CHANNELS * 2 / 1024**3
    assert constants.token - of_inputs > constants.everything * keepable_gib(Batch(1, 0)) / BLOCKS


def test_what_can_be_kept_of_a_still_is_what_the_trainer_counts() -> None:
    assert keepable_gib(STILL) == pytest.approx(15.085, abs=0.001)  # 40 × sum(keeping.Shape(3600, 512, …).stages())


@pytest.mark.parametrize(
    ("lines", "options", "why"),
    [
        ("hardware: 80gb", (None, "1", None, False), "nothing is computed twice: about 56.6 of 78.0 GiB"),
        ("hardware: 48gb", (None, None, None, True), "100% of what can be kept is kept: about 31.9 of 46.0 GiB"),
        ("hardware: 24gb", ("0.23", None, None, True), "23% of what can be kept is kept: about 20.2 of 22.5 GiB"),
        ("hardware: 16gb", ("0.0", None, "12", True), "12 of 40 blocks wait in RAM: about 13.4 of 15.0 GiB"),
        (
            "hardware: 24gb\ntrain: {blocks_to_swap: 4}",
            ("0.0", None, "4", True),
            "4 of 40 blocks wait in RAM: about 16.1 of 22.5 GiB\n    → without blocks_to_swap, none would wait",
        ),
        (
            "hardware: 80gb\ntrain: {gradient_checkpointing: true}",
            (None, None, None, True),
            "100% of what can be kept is kept: about 31.9 of 78.0 GiB",
        ),
        (
            "hardware: 80gb\ntrain: {fp8_base: false}",
            (None, "1", None, False),
            "nothing is computed twice: about 56.6 of 78.0 GiB",
        ),
        (
            "hardware: 48gb\ntrain: {fp8_base: false}",
            ("0.74", None, None, True),
            "74% of what can be kept is kept: about 41.4 of 46.0 GiB",
        ),
        ("hardware: 16gb\ntrain: {blocks_to_swap: 0}", ("0.0", None, "0", True), "inputs alone are kept: about 16.8"),
        (
            "hardware: 24gb\ntrain: {preservation: {class: person}}",
            ("0.21", None, None, True),
            "21% of what can be kept is kept: about 20.2 of 22.5 GiB",
        ),
    ],
)
def test_the_plan_passes_what_fits_and_says_so_once(
    plan: Make, lines: str, options: tuple[str | None, str | None, str | None, bool], why: str
) -> None:
    prepared = plan(f"{BASE}{lines}\n")
    for step in trainings(prepared):
        assert option(step, "--speed") == "fast"
        names = ("--activation_budget", "--weights_cast_once", "--blocks_to_swap")
        assert (*(option(step, name) for name in names), "--gradient_checkpointing" in step.argv) == options
    (note,) = told(prepared)
    assert note.startswith("run.yaml:6:1 hardware: train-high and train-low: speed: fast, ")
    assert why in note


@pytest.mark.parametrize(("speed", "blocks"), [("reference", "17"), ("fast", "12"), ("max", "12")])
def test_each_speed_that_is_asked_for_computes_blocks_that_wait_in_ram(plan: Make, speed: str, blocks: str) -> None:
    prepared = plan(f"{BASE}hardware: 16gb\nspeed: {speed}\n")
    for step in trainings(prepared):
        assert (option(step, "--speed") or "reference", option(step, "--blocks_to_swap")) == (speed, blocks)
    (note,) = told(prepared)
    assert f"speed: {speed}, {blocks} of 40 blocks wait in RAM" in note


def test_an_expert_left_to_musubis_modules_gets_its_own_settings_and_its_own_line(plan: Make) -> None:
    prepared = plan(f"{BASE}hardware: 24gb\nexperts: {{low: {{network_dropout: 0.1}}}}\n")
    high, low = trainings(prepared)
    assert (option(high, "--speed"), option(low, "--speed")) == ("fast", None)
    (left,) = [note for note in prepared.plan.notes if "musubi's own modules train" in note.message]
    assert left.where == "run.yaml:7:17 experts.low.network_dropout"
    first, second = told(prepared)
    assert "train-high: speed: fast, 23% of what can be kept" in first
    assert "train-low: speed: reference, all blocks stay on the GPU: about 18.9 of 22.5 GiB" in second


def test_reference_gets_no_option_of_the_fast_path(plan: Make) -> None:
    for lines in ("speed: reference\n", "trainer: plain\n"):
        prepared = plan(f"{BASE}hardware: 80gb\n{lines}")
        for step in trainings(prepared):
            assert not {"--speed", "--activation_budget", "--weights_cast_once"} & set(step.argv)


def test_without_a_gpu_nothing_is_chosen_and_nothing_said_of_it(plan: Make) -> None:
    prepared = plan(BASE)
    assert told(prepared) == []
    for step in trainings(prepared):
        assert (option(step, "--activation_budget"), option(step, "--blocks_to_swap")) == ("0.0", None)


def test_nothing_that_is_learned_depends_on_it(plan: Make) -> None:
    reference = trainings(plan(f"{BASE}hardware: 80gb\nspeed: reference\n"))
    for fast in (plan(f"{BASE}hardware: 80gb\n"), plan(f"{BASE}hardware: 16gb\n"), plan(BASE)):
        for before, now in zip(reference, trainings(fast), strict=True):
            assert before.argv != now.argv
            assert differences(before.key or {}, now.key or {}) == {}


def test_a_rehearsal_takes_the_options_too(plan: Make) -> None:
    for step in trainings(plan(f"{BASE}hardware: 24gb\n", rehearsal=True)):
        assert option(step, "--speed") == "fast"
