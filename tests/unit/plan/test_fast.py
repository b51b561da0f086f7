"""`speed: fast` in a plan: what it keeps fits the GPU, and nothing that is learned depends on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.plan.build import Prepared
from wan22lora.plan.fast import budget_for
from wan22lora.plan.fast_memory import CONSTANTS, Batch, Kept, fast_peak_gib, keepable_gib
from wan22lora.plan.memory import FILLED, tokens
from wan22lora.plan.model import Step
from wan22lora.plan.training import differences
from wan22lora.spec.model import TrainSettings
from wan22lora.spec.resolved import Expert

Make = Callable[..., Prepared]
BASE = "name: paper\npreset: style\nimages: ./pictures\ntrigger: paperworld\ndata: {resolution: 960}\n"
FAST = f"{BASE}speed: fast\n"
STILL = Batch(tokens(960, 960), 1)
CLIP = Batch(tokens(832, 480, 49), 1)

MEASURED = [  # docs/benchmarks.md
    ("fast", STILL, Kept(0.25), 20.5),
    ("fast", STILL, Kept(0.28), 20.9),
    ("fast", STILL, Kept(1.0), 31.3),
    ("fast", CLIP, Kept(0.15), 39.1),
    ("fast", STILL, Kept(everything=True, cast_once=True), 56.4),
]


def trainings(prepared: Prepared) -> list[Step]:
    return [step for step in prepared.plan.steps if step.id.startswith("train")]


def option(step: Step, name: str) -> str | None:
    return step.argv[step.argv.index(name) + 1] if name in step.argv else None


def told(prepared: Prepared) -> list[str]:
    return [str(note) for note in prepared.plan.notes if "speed: fast" in note.message]


@pytest.mark.parametrize(("speed", "batch", "kept", "gib"), MEASURED)
def test_no_measured_training_takes_more_than_is_reckoned_with(
    speed: str, batch: Batch, kept: Kept, gib: float
) -> None:
    assert gib <= fast_peak_gib(CONSTANTS[speed], batch, kept) + 0.005 <= gib + 0.6


def test_what_can_be_kept_of_a_still_is_what_the_trainer_counts() -> None:
    assert keepable_gib(STILL) == pytest.approx(15.085, abs=0.001)  # 40 × sum(keeping.Shape(3600, 512, …).stages())


def expert(rank: int = 16) -> Expert:
    settings = TrainSettings.model_validate({"rank": rank, "fp8_base": True, "gradient_checkpointing": True})
    return Expert(
        origins={}, fallback="", prefix="train", name="high", settings=settings, options={}, option_origins={}
    )


def test_a_larger_card_keeps_more_up_to_everything() -> None:
    shares = [budget_for(expert(), STILL, usable).share for usable in (15, 22.5, 24, 30, 46, 78)]
    assert shares == sorted(shares)
    assert (shares[0], shares[1], shares[-1]) == (0.0, 0.23, 1.0)


@given(st.integers(16, 90_000), st.integers(1, 16), st.floats(8, 200))
def test_what_is_chosen_leaves_a_tenth_of_the_card_free(count: int, items: int, usable: float) -> None:
    batch = Batch(count, items)
    share = budget_for(expert(), batch, usable).share
    assert 0 <= share <= 1
    assert share == 0 or fast_peak_gib(CONSTANTS["fast"], batch, Kept(share)) <= FILLED * usable
    assert share in (0, 1) or fast_peak_gib(CONSTANTS["fast"], batch, Kept(share + 0.011)) > FILLED * usable


def test_a_larger_lora_leaves_less_room() -> None:
    assert budget_for(expert(64), STILL, 24).share < budget_for(expert(), STILL, 24).share


@pytest.mark.parametrize(
    ("lines", "budget", "why"),
    [
        ("hardware: 80gb", None, "keeps 100% of what can be kept: 31.9 of 78 GiB"),
        ("hardware: 24gb\ntrain: {blocks_to_swap: 0}", "0.23", "keeps 23% of what can be kept: 20.2 of 22.5 GiB"),
        ("hardware: 24gb", "0.0", "since blocks are swapped\n    → train: {blocks_to_swap: 0}, which would fit"),
        ("hardware: 16gb", "0.0", "since blocks are swapped"),
        ("hardware: 16gb\ntrain: {blocks_to_swap: 0}", "0.0", "nothing more fits 15 GiB"),
        ("", "0.0", "as the GPU's memory is not known"),
        ("hardware: 80gb\ntrain: {fp8_base: false}", "0.0", "as nothing was measured without fp8_base"),
        ("hardware: 80gb\ntrain: {gradient_checkpointing: false}", "0.0", "keeps everything"),
    ],
)
def test_the_plan_passes_what_fits_and_says_so_once(plan: Make, lines: str, budget: str | None, why: str) -> None:
    prepared = plan(f"{FAST}{lines}\n")
    for step in trainings(prepared):
        assert option(step, "--speed") == "fast"
        assert option(step, "--activation_budget") == budget
    (note,) = told(prepared)
    assert why in note
    assert note.startswith("run.yaml:6:1 speed")


def test_without_it_neither_option_nor_note_is_there(plan: Make) -> None:
    for lines in ("", "speed: reference\n", "speed: null\n", "trainer: plain\n"):
        prepared = plan(f"{BASE}hardware: 80gb\n{lines}")
        for step in trainings(prepared):
            assert not {"--speed", "--activation_budget"} & set(step.argv)
        assert told(prepared) == []


def test_nothing_that_is_learned_depends_on_it(plan: Make) -> None:
    reference = trainings(plan(f"{BASE}hardware: 80gb\n"))
    for fast in (plan(f"{FAST}hardware: 80gb\n"), plan(FAST)):
        for before, now in zip(reference, trainings(fast), strict=True):
            assert before.argv != now.argv
            assert differences(before.key or {}, now.key or {}) == {}


def test_where_musubis_modules_train_all_the_same_only_the_warning_is_told(plan: Make) -> None:
    (note,) = told(plan(f"{FAST}hardware: 80gb\ntrain: {{network_dropout: 0.1}}\n"))
    assert "musubi's own modules train" in note


def test_a_rehearsal_takes_the_options_too(plan: Make) -> None:
    for step in trainings(plan(f"{FAST}hardware: 24gb\n", rehearsal=True)):
        assert option(step, "--speed") == "fast"
