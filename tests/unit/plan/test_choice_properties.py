"""What holds for every choice of memory settings, whatever a person wrote and however large cards and batches are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wan22lora.musubi.failure import Phase
from wan22lora.plan.choice import GpuMemory, chosen_memory, expected_gib, memory_of, stepped_down, with_settings
from wan22lora.plan.fast_memory import Batch
from wan22lora.plan.memory import FILLED, MOST_BLOCKS
from wan22lora.spec.load import load_spec
from wan22lora.spec.resolved import Expert, Kept, Spec

RUN = "name: paper\npreset: style\nimages: ./pictures\ntrigger: zxq\n"
SPEEDS = ("", "speed: reference\n", "speed: fast\n", "speed: max\n")
WRITTEN = (
    "",
    "rank: 128, alpha: 128",
    "preservation: {class: person}",
    "fp8_scaled: true",
    "network_dropout: 0.1",
    "gradient_checkpointing: true",
    "gradient_checkpointing: false",
    "gradient_checkpointing: true, blocks_to_swap: 0",
    "gradient_checkpointing: true, blocks_to_swap: 12",
    "blocks_to_swap: 0",
    "blocks_to_swap: 4",
    "blocks_to_swap: 38",
    "gradient_checkpointing: true, gradient_checkpointing_cpu_offload: true",
)
phases = st.sampled_from(Phase.__args__)  # type: ignore[attr-defined]
batches = st.builds(Batch, st.integers(16, 90_000), st.integers(1, 16))
sizes = st.floats(4, 200)
bounds = st.one_of(
    st.builds(GpuMemory, st.just(True), st.integers(0, MOST_BLOCKS)),
    st.builds(lambda hundredths: GpuMemory(kept=Kept(hundredths / 100)), st.integers(0, 100)),
    st.just(GpuMemory(False, 0, Kept(0.0, everything=True, cast_once=True))),
)


class Specs(dict[tuple[str, str], Spec]):
    """By speed and what is written under `train:`."""

    def __repr__(self) -> str:
        return "specs"


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Specs:
    path = tmp_path_factory.mktemp("run") / "run.yaml"
    found = Specs()
    for speed in SPEEDS:
        for written in WRITTEN:
            if speed and speed != "speed: reference\n" and ("dropout" in written or "cpu_offload" in written):
                continue  # refused
            path.write_text(f"{RUN}{speed}train: {{{written}}}\n", encoding="utf-8")
            found[speed, written] = load_spec(path)
    return found


runs = st.tuples(st.sampled_from(SPEEDS), st.sampled_from(WRITTEN))


def of(specs: Specs, run: tuple[str, str], usable: float | None) -> tuple[Spec, Expert]:
    assume(run in specs)
    spec = replace(specs[run], usable_gib=usable)
    return spec, spec.experts[0]


def gib(spec: Spec, expert: Expert, memory: GpuMemory, batch: Batch) -> float | None:
    return expected_gib(spec, with_settings(expert, memory), batch)


def keeps_what_was_written(expert: Expert, memory: GpuMemory) -> bool:
    written = memory_of(expert)
    return (not expert.is_written("gradient_checkpointing") or memory.checkpointing == written.checkpointing) and (
        not expert.is_written("blocks_to_swap") or memory.blocks_to_swap == written.blocks_to_swap
    )


@given(runs, sizes, batches)
def test_a_choice_fits_or_nothing_that_may_be_chosen_takes_less(
    specs: Specs, run: tuple[str, str], usable: float, batch: Batch
) -> None:
    spec, expert = of(specs, run, usable)
    chosen = chosen_memory(spec, expert, batch, None)
    peak = gib(spec, expert, chosen, batch)
    if peak is None or peak <= FILLED * usable:
        return
    for checkpointing in (True, False):
        for blocks in range(MOST_BLOCKS + 1):
            other = GpuMemory(checkpointing, blocks, Kept(everything=not checkpointing))
            if keeps_what_was_written(expert, other):
                least = gib(spec, expert, other, batch)
                assert least is None or least >= peak - 1e-9, (chosen, other)


@given(runs, sizes, sizes, batches)
def test_more_memory_never_gives_a_slower_choice(
    specs: Specs, run: tuple[str, str], one: float, other: float, batch: Batch
) -> None:
    smaller, larger = (
        chosen_memory(*of(specs, run, usable), batch, None).size for usable in (min(one, other), max(one, other))
    )
    assert smaller <= larger


@given(runs, st.none() | sizes, batches, st.none() | bounds)
def test_what_a_person_wrote_is_in_every_choice(
    specs: Specs,
    run: tuple[str, str],
    usable: float | None,
    batch: Batch,
    at_most: GpuMemory | None,
) -> None:
    spec, expert = of(specs, run, usable)
    assert keeps_what_was_written(expert, chosen_memory(spec, expert, batch, at_most))


@given(runs, sizes, batches, st.none() | bounds, phases)
def test_every_step_down_takes_less_and_keeps_what_was_written_and_the_steps_end(
    specs: Specs,
    run: tuple[str, str],
    usable: float,
    batch: Batch,
    at_most: GpuMemory | None,
    phase: Phase,
) -> None:
    spec, expert = of(specs, run, usable)
    now = chosen_memory(spec, expert, batch, at_most)
    for _ in range(20):
        lower = stepped_down(with_settings(expert, now), phase)
        if lower is None:
            return
        assert lower.size < now.size
        assert keeps_what_was_written(expert, lower)
        before, after = gib(spec, expert, now, batch), gib(spec, expert, lower, batch)
        assert before is None or after is None or after < before, (now, lower)
        assert chosen_memory(spec, expert, batch, lower) == lower  # what the next start chooses
        now = lower
    raise AssertionError("it does not end")
