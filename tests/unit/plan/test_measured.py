"""What was measured serves a forecast where the settings agree, and whatever else lies there is passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.plan.choice import GpuMemory, expected_gib, with_settings
from wan22lora.plan.fast_memory import Batch, largest
from wan22lora.plan.measured import (
    FILE,
    NOTHING,
    Known,
    Measured,
    Tokens,
    Work,
    known_measurements,
    read_measured,
    store_measured,
    work_of,
)
from wan22lora.plan.memory import tokens
from wan22lora.plan.prepared import Prepared
from wan22lora.spec.resolved import Kept

Make = Callable[..., Prepared]
H200 = "NVIDIA H200"
WORK = Work({"gpu": H200, "rank": "16"}, GpuMemory(kept=Kept(0.23)), Tokens(3600, 3600, 3600), Batch(3600, 1))
MEASURED = Measured(WORK, "paper", 1_790_000_000.0, 1790, 0.568, 21_640_000_000)
BASE = "name: paper\npreset: style\nimages: ./pictures\ndata: {resolution: 960}\nhardware: 24gb\n"

positive = st.floats(1e-6, 1e12)
counts = st.integers(1, 10**9)
memories = st.one_of(
    st.builds(GpuMemory, st.just(True), st.integers(0, 38), st.builds(Kept, st.floats(0, 1))),
    st.builds(lambda cast: GpuMemory(False, 0, Kept(0.0, True, cast)), st.booleans()),
)
works = st.builds(
    Work,
    st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4),
    memories,
    st.builds(Tokens, positive, positive, positive),
    st.builds(Batch, counts, counts),
)
measurements = st.builds(
    Measured, works, st.text("abc-._é ", max_size=20), st.floats(1, 2e11), counts, positive, st.none() | counts
)
values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


def real_run(path: Path, *, rehearsal: bool = False) -> Path:
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({"name": path.name, "rehearsal": rehearsal}), encoding="utf-8")
    return path


@given(measurements, measurements)
def test_what_is_stored_is_read_back_and_the_other_training_stays(folder: Path, high: Measured, low: Measured) -> None:
    (folder / FILE).unlink(missing_ok=True)
    store_measured(folder, "train-high", high)
    store_measured(folder, "train-low", low)
    assert read_measured(folder) == {"train-high": high, "train-low": low}


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_a_foreign_file_counts_as_nothing_and_is_replaced(folder: Path, content: bytes) -> None:
    (folder / FILE).write_bytes(content)
    assert read_measured(folder) == {}
    store_measured(folder, "train", MEASURED)
    assert read_measured(folder) == {"train": MEASURED}


@given(st.data(), values)
def test_one_spoilt_value_costs_no_more_than_its_entry(folder: Path, data: st.DataObject, value: object) -> None:
    (folder / FILE).unlink(missing_ok=True)
    for step in ("train-high", "train-low"):
        store_measured(folder, step, MEASURED)
    told = json.loads((folder / FILE).read_bytes())
    place, key = told["trainings"]["train-high"], data.draw(st.sampled_from(sorted(told["trainings"]["train-high"])))
    if isinstance(place[key], dict) and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = value
    (folder / FILE).write_text(json.dumps(told), encoding="utf-8")
    found = read_measured(folder)
    assert found["train-low"] == MEASURED
    if "train-high" in found:  # the value may be one that stands there rightly
        store_measured(folder, "train-high", found["train-high"])
        assert read_measured(folder) == found


@pytest.mark.parametrize("key", ["steps", "gpu_peak"])
def test_less_than_one_is_no_count(tmp_path: Path, key: str) -> None:
    store_measured(tmp_path, "train", MEASURED)
    told = json.loads((tmp_path / FILE).read_bytes())
    told["trainings"]["train"][key] = 0.5
    (tmp_path / FILE).write_text(json.dumps(told), encoding="utf-8")
    assert read_measured(tmp_path) == {}


def test_a_name_that_a_terminal_would_obey_is_not_shown(tmp_path: Path) -> None:
    store_measured(tmp_path, "train", replace(MEASURED, run="\x1b[2J"))
    assert read_measured(tmp_path) == {}


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_file_of_another_version_is_left_alone(tmp_path: Path, version: object) -> None:
    store_measured(tmp_path, "train", MEASURED)
    told = json.loads((tmp_path / FILE).read_bytes())
    (tmp_path / FILE).write_text(json.dumps({**told, "version": version}), encoding="utf-8")
    assert read_measured(tmp_path) == {}


def test_what_a_later_version_adds_to_an_entry_does_not_disturb(tmp_path: Path) -> None:
    store_measured(tmp_path, "train", MEASURED)
    told = json.loads((tmp_path / FILE).read_bytes())
    told["trainings"]["train"]["power"] = 550
    (tmp_path / FILE).write_text(json.dumps({**told, "by": "someone"}), encoding="utf-8")
    assert read_measured(tmp_path) == {"train": MEASURED}


@pytest.mark.parametrize("what", ["missing", "folder", "huge", "loop", "not allowed"])
def test_what_cannot_be_read_counts_as_nothing(tmp_path: Path, what: str) -> None:
    file = tmp_path / FILE
    if what == "folder":
        file.mkdir()
    elif what == "huge":
        file.write_text("[" * 200_000, encoding="utf-8")
    elif what == "loop":
        file.symlink_to(file)
    elif what == "not allowed":
        file.write_text("{}", encoding="utf-8")
        file.chmod(0)
    assert read_measured(tmp_path) == {}


def test_the_own_run_comes_first_then_the_newest_and_rehearsals_take_no_part(tmp_path: Path) -> None:
    own = real_run(tmp_path / "runs" / "own")
    for name, at, rehearsal in (("old", 10, False), ("new", 20, False), ("played", 30, True)):
        store_measured(
            real_run(tmp_path / "runs" / name, rehearsal=rehearsal), "train", replace(MEASURED, run=name, at=at)
        )
    far = real_run(tmp_path / "elsewhere" / "far")
    store_measured(far, "train-low", replace(MEASURED, run="far", at=15))
    store_measured(tmp_path, "train", replace(MEASURED, run="no run at all"))
    store_measured(own, "train-high", replace(MEASURED, run="own", at=1))
    known = known_measurements(own, [far, own, tmp_path / "gone"], H200)
    assert [each.run for each in known.measured] == ["own", "new", "far", "old"]
    assert known_measurements(own, [far], None) == NOTHING
    (own / "run.json").write_text(json.dumps({"rehearsal": True}), encoding="utf-8")
    assert "own" not in [each.run for each in known_measurements(own, [far], H200).measured]


@pytest.mark.parametrize(
    ("tokens_now", "like"),
    [
        (Tokens(3600, 3600, 3600), True),
        (Tokens(3300, 3600, 3950), True),
        (Tokens(3200, 3600, 3600), False),
        (Tokens(3600, 3600, 4050), False),
        (Tokens(3600, 3200, 3600), False),
    ],
)
def test_batches_may_differ_by_a_tenth(tokens_now: Tokens, like: bool) -> None:
    assert replace(WORK, tokens=tokens_now).is_like(WORK) == like


@pytest.mark.parametrize(
    ("memory", "like"),
    [
        (GpuMemory(kept=Kept(0.28)), True),
        (GpuMemory(kept=Kept(0.3)), False),
        (GpuMemory(), False),
        (GpuMemory(blocks_to_swap=4), False),
        (GpuMemory(False, 0, Kept(everything=True, cast_once=True)), False),
    ],
)
def test_what_is_kept_may_differ_a_little_and_the_blocks_in_ram_not_at_all(memory: GpuMemory, like: bool) -> None:
    assert replace(WORK, memory=memory).is_like(WORK) == like


@pytest.mark.parametrize(
    ("lines", "like"),
    [
        ("", True),
        ("train: {learning_rate: 1.0e-5, seed: 7, epochs: 3, title: other}\n", True),
        ("speed: max\n", False),
        ("speed: reference\n", False),
        ("trainer: plain\n", False),
        ("train: {rank: 32}\n", False),
        ("train: {optimizer: adamw8bit}\n", False),
        ("train: {gradient_accumulation: 2}\n", False),
        ("train: {fp8_scaled: true}\n", False),
        ("train: {blocks_to_swap: 4}\n", False),
        ("train: {network_args: {loraplus_lr_ratio: 4}}\n", False),
        ("trigger: paperworld\ntrain: {preservation: {class: person}}\n", False),
        ("musubi: {train: {split_attn: true}}\n", False),
    ],
)
def test_only_what_changes_time_or_memory_must_agree(plan: Make, lines: str, like: bool) -> None:
    def of(prepared: Prepared, gpu: str = H200) -> Work:
        work = work_of(prepared.spec, prepared.spec.experts[0], prepared.trained, gpu, prepared.processes)
        assert work is not None
        return work

    first, other = of(plan(BASE)), of(plan(f"{BASE}{lines}"))
    assert first.is_like(other) == other.is_like(first) == like
    assert not first.is_like(of(plan(BASE), "NVIDIA GeForce RTX 4090"))


def test_without_a_gpu_nothing_is_said(plan: Make) -> None:
    prepared = plan(BASE)
    assert work_of(prepared.spec, prepared.spec.experts[0], prepared.trained, None, 1) is None
    assert Known(None, (MEASURED,)).of(prepared.spec, prepared.spec.experts[0], prepared.trained, 1) is None


def test_memory_is_the_measured_one_and_what_the_estimates_differ_by(plan: Make) -> None:
    prepared = plan(BASE)
    spec, expert, scans = prepared.spec, prepared.spec.experts[0], prepared.trained
    work = work_of(spec, expert, scans, H200, 1)
    assert work is not None
    same = Measured(work, "paper", 1.0, 100, 0.5, 21 * 2**30)
    assert same.gib_of(spec, expert, scans) == 21
    assert replace(same, gpu_peak=None).gib_of(spec, expert, scans) is None
    smaller = replace(work, memory=GpuMemory(kept=Kept(0.2)), largest=Batch(tokens(928, 928), 1))
    told = replace(same, work=smaller).gib_of(spec, expert, scans)
    now, then = (expected_gib(spec, with_settings(expert, each.memory), each.largest) or 0 for each in (work, smaller))
    assert told == pytest.approx(21 + now - then)
    assert largest(scans).tokens == tokens(960, 960)
    assert now > then
