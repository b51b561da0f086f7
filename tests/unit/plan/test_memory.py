from __future__ import annotations

from collections.abc import Callable

import pytest

from wan22lora.plan.memory import FILLED, peak_gib, tokens
from wan22lora.plan.prepared import Prepared
from wan22lora.spec.presets import read_hardware

STILL = tokens(960, 960)
CLIP = tokens(832, 480, 49)

MEASURED = [  # docs/benchmarks.md
    (STILL, 0, 18.90),
    (STILL, 1, 18.57),
    (STILL, 10, 15.55),
    (STILL, 20, 12.19),
    (STILL, 30, 8.83),
    (STILL, 36, 6.82),
    (CLIP, 0, 35.21),
    (CLIP, 20, 28.50),
]


@pytest.mark.parametrize(("count", "swapped", "gib"), MEASURED)
def test_the_formula_meets_every_measured_row(count: int, swapped: int, gib: float) -> None:
    assert peak_gib(count, swapped) == pytest.approx(gib, abs=0.03)


@pytest.mark.parametrize("name", ["16gb", "24gb", "48gb", "80gb"])
def test_each_hardware_class_fits_what_its_file_says(name: str) -> None:
    hardware, _ = read_hardware(name)
    motion = tokens(480, 272, 61)
    assert peak_gib(STILL, hardware.images.blocks_to_swap or 0) <= FILLED * hardware.usable_gib
    assert peak_gib(motion, hardware.videos.blocks_to_swap or 0) <= FILLED * hardware.usable_gib


def test_a_run_that_will_not_fit_is_told_with_the_number_of_blocks_that_would(plan: Callable[..., Prepared]) -> None:
    run = "name: a\npreset: style\nimages: pictures\nhardware: 24gb\ntrainer: plain\n"
    assert not [note for note in plan(run).plan.notes if "blocks_to_swap" in note.where]
    notes = plan(f"{run}data: {{batch_size: 4}}\n").plan.notes
    (note,) = [note for note in notes if "blocks_to_swap" in note.where]
    assert note.level == "warning"
    assert "blocks_to_swap: 28" in note.fix


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_loading_weights_without_swapping_is_pointed_out_on_a_small_card(
    plan: Callable[..., Prepared], dtype: str
) -> None:
    files = ", ".join(f"{name}: wan2.2_t2v_{name}_noise_14B_{dtype}.safetensors" for name in ("high", "low"))
    run = f"name: a\npreset: style\nimages: pictures\nhardware: 24gb\nmodels: {{{files}}}\ntrainer: plain\n"
    notes = plan(f"{run}train: {{blocks_to_swap: 0, mixed_precision: {dtype}}}\n").plan.notes
    assert any("loading 16-bit weights" in note.message for note in notes)


def test_the_extension_loads_on_a_small_card_without_swapping(plan: Callable[..., Prepared]) -> None:
    run = "name: a\npreset: style\nimages: pictures\nhardware: 24gb\ntrain: {blocks_to_swap: 0}\n"
    assert not [note for note in plan(run).plan.notes if "blocks_to_swap" in note.where]
