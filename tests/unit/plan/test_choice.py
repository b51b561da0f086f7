"""Memory settings: as much as fits, never more, and step by step less where that was wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.plan.choice import GpuMemory, chosen_memory, expected_gib, memory_of, stepped_down, with_settings
from wan22lora.plan.fast_memory import Batch
from wan22lora.plan.memory import FILLED, tokens
from wan22lora.plan.prepared import Prepared
from wan22lora.spec.load import load_spec
from wan22lora.spec.resolved import Kept, Spec

Make = Callable[..., Prepared]
BASE = "name: paper\npreset: style\nimages: ./pictures\n"
STILL = Batch(tokens(960, 960), 1)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Spec:
    path = tmp_path_factory.mktemp("run") / "run.yaml"
    path.write_text(BASE, encoding="utf-8")
    return load_spec(path)


def chosen(spec: Spec, batch: Batch, usable: float, at_most: GpuMemory | None = None) -> tuple[GpuMemory, float]:
    """With the peak that is expected of it."""
    spec = replace(spec, usable_gib=usable)
    memory = chosen_memory(spec, spec.experts[0], batch, at_most)
    peak = expected_gib(spec, with_settings(spec.experts[0], memory), batch)
    assert peak is not None
    return memory, peak


@pytest.mark.parametrize("speed", ["fast", "reference"])
@given(count=st.integers(16, 90_000), items=st.integers(1, 16), usable=st.floats(8, 200))
def test_what_is_chosen_fits_with_a_tenth_to_spare_and_the_next_larger_would_not(
    spec: Spec, speed: str, count: int, items: int, usable: float
) -> None:
    batch, spec = Batch(count, items), replace(spec, speed=speed)  # type: ignore[arg-type]
    memory, peak = chosen(spec, batch, usable)
    if peak > FILLED * usable:
        return  # tests/unit/plan/test_choice_properties.py
    larger = [
        replace(memory, blocks_to_swap=memory.blocks_to_swap - 1) if memory.blocks_to_swap else None,
        replace(memory, kept=Kept(memory.kept.share + 0.011)) if speed == "fast" and memory.kept.share < 0.98 else None,
    ]
    for more in larger:
        if more is not None and memory.checkpointing and not (more.blocks_to_swap and more.kept.share):
            sized = expected_gib(replace(spec, usable_gib=usable), with_settings(spec.experts[0], more), batch)
            assert sized is not None
            assert sized > FILLED * usable


def test_a_larger_card_never_keeps_less(spec: Spec) -> None:
    sizes = [chosen(spec, STILL, usable)[0].size for usable in (10, 15, 22.5, 24, 30, 46, 62, 78, 138)]
    assert sizes == sorted(sizes)
    assert sizes[0][2] < 0
    assert sizes[-1][0]


def test_a_larger_lora_leaves_less_room(plan: Make) -> None:
    share = [
        plan(f"{BASE}hardware: 24gb\ntrain: {{rank: {rank}}}\n").spec.experts[0].kept.share for rank in (16, 24, 32)
    ]
    assert share == sorted(share, reverse=True)
    assert share[0] > share[-1]


@pytest.mark.parametrize(
    ("hardware", "reference", "fast"), [("16gb", 17, 12), ("24gb", 0, 0), ("48gb", 0, 0), ("80gb", 0, 0)]
)
def test_the_extension_swaps_only_what_does_not_fit(plan: Make, hardware: str, reference: int, fast: int) -> None:
    for lines, blocks in (("speed: reference\n", reference), ("speed: fast\n", fast), ("", fast)):
        settings = plan(f"{BASE}data: {{resolution: 960}}\nhardware: {hardware}\n{lines}").spec.experts[0].settings
        assert (settings.blocks_to_swap or 0) == blocks


def test_musubis_own_program_gets_its_class(plan: Make) -> None:
    for hardware, blocks in (("16gb", 24), ("24gb", 4)):
        prepared = plan(f"{BASE}hardware: {hardware}\ntrainer: plain\n")
        assert {expert.settings.blocks_to_swap for expert in prepared.spec.experts} == {blocks}
        assert not [note for note in prepared.plan.notes if "speed: " in note.message]


def ladder(spec: Spec, memory: GpuMemory, phase: str = "first step") -> list[GpuMemory]:
    found = []
    expert = with_settings(spec.experts[0], memory)
    while (lower := stepped_down(expert, phase)) is not None:  # type: ignore[arg-type]
        found.append(lower)
        expert = with_settings(expert, lower)
    return found


def test_the_ladder_keeps_half_then_nothing_then_swaps(spec: Spec) -> None:
    steps = ladder(spec, GpuMemory(False, 0, Kept(everything=True, cast_once=True)))
    assert [each.kept.share for each in steps] == [1.0, 0.5, 0.25, 0.12, 0.06, 0.0, 0, 0, 0, 0, 0]
    assert [each.blocks_to_swap for each in steps] == [0] * 6 + [8, 16, 24, 32, 38]
    assert all(each.checkpointing for each in steps)


def test_weights_that_do_not_load_are_answered_with_blocks_in_ram(spec: Spec) -> None:
    assert ladder(spec, GpuMemory(kept=Kept(0.4)), "loading")[0] == GpuMemory(blocks_to_swap=8)


@given(st.integers(0, 100), st.booleans())
def test_each_step_down_takes_less_and_the_ladder_ends(spec: Spec, hundredths: int, everything: bool) -> None:
    memory = GpuMemory(False, 0, Kept(everything=True)) if everything else GpuMemory(kept=Kept(hundredths / 100))
    sizes = [memory.size, *(each.size for each in ladder(spec, memory))]
    assert sizes == sorted(set(sizes), reverse=True)
    assert sizes[-1] == (False, 0.0, -38)


def test_what_a_person_wrote_is_not_stepped_down(plan: Make) -> None:
    written = plan(f"{BASE}hardware: 24gb\ntrain: {{blocks_to_swap: 0}}\n").spec
    assert [each.kept.share for each in ladder(written, memory_of(written.experts[0]))][-1] == 0
    assert {each.blocks_to_swap for each in ladder(written, memory_of(written.experts[0]))} == {0}
    unchecked = plan(f"{BASE}hardware: 80gb\ntrain: {{gradient_checkpointing: false}}\n").spec
    assert ladder(unchecked, memory_of(unchecked.experts[0])) == []


@given(st.floats(8, 200), st.integers(0, 100), st.integers(0, 38))
def test_what_ran_out_of_memory_is_not_tried_again(spec: Spec, usable: float, hundredths: int, blocks: int) -> None:
    at_most = GpuMemory(kept=Kept(hundredths / 100)) if not blocks else GpuMemory(blocks_to_swap=blocks)
    assert chosen(spec, STILL, usable, at_most)[0].size <= at_most.size
    assert chosen(spec, STILL, usable, at_most)[0] == min(
        chosen(spec, STILL, usable)[0], at_most, key=lambda each: each.size
    )


@pytest.mark.parametrize(
    "memory",
    [GpuMemory(), GpuMemory(kept=Kept(0.25)), GpuMemory(blocks_to_swap=8), GpuMemory(False, 0, Kept(1.0, True, True))],
)
def test_what_is_remembered_is_read_back(memory: GpuMemory) -> None:
    assert GpuMemory.from_json(memory.as_json()) == memory


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"gradient_checkpointing": 1, "blocks_to_swap": 0, "kept": 0},
        {"gradient_checkpointing": True, "blocks_to_swap": 40, "kept": 0},
        {"gradient_checkpointing": True, "blocks_to_swap": 0, "kept": math.nan},
        {"gradient_checkpointing": True, "blocks_to_swap": "8", "kept": 0},
    ],
)
def test_a_damaged_memory_is_none(told: dict[str, object]) -> None:
    assert GpuMemory.from_json(told) is None
