"""The forecast of a run is that of its plan, and says nothing of time that was not measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.check.forecast import Forecast, forecast_of_run
from wan22lora.check.speed import FAST_SECONDS, SECONDS
from wan22lora.doctor.run_facts import read_run
from wan22lora.machine.settings import Machine

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(18):
        Image.new("RGB", (96, 96), (index * 10, 90, 40)).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"zxq, picture {index}", encoding="utf-8")
    return folder


def forecast(pictures: Path, text: str) -> Forecast:
    file = pictures.parent / "run.yaml"
    file.write_text(f"name: paper\nimages: pictures\n{text}", encoding="utf-8")
    machine = Machine(pictures.parent, "test", Path("python"), pictures.parent / "models")
    run = read_run(file, machine, lambda: 80.0)
    assert run.problems == ()
    return forecast_of_run(run)


def test_the_articles_run_is_two_times_1800_steps_of_1_11_seconds(pictures: Path) -> None:
    told = forecast(pictures, "preset: article-wan22\nspeed: reference\n")
    assert [(each.step, each.steps, each.steps_per_epoch) for each in told.trainings] == [
        ("train-high", 1800, 18),
        ("train-low", 1800, 18),
    ]
    assert told.seconds == pytest.approx(2 * 1800 * 1.11)
    assert told.cost(2.5) == pytest.approx(2.775)
    assert told.trainings[0].gpu_gib == pytest.approx(18.9, abs=0.1)


@pytest.mark.parametrize(
    ("lines", "gib", "seconds"),
    [
        ("", 56.6, 0.442),
        ("hardware: 48gb", 31.9, 0.472),
        ("hardware: 24gb", 20.2, 0.568),
        ("hardware: 16gb", 13.2, None),
        ("train: {gradient_checkpointing: true}", 31.9, 0.472),
        ("train: {network_dropout: 0.1}", 18.9, 1.11),
        ("speed: max\nhardware: 48gb", 31.6, 0.348),
    ],
)
def test_the_fast_path_takes_what_the_plan_leaves_it(
    pictures: Path, lines: str, gib: float, seconds: float | None
) -> None:
    told = forecast(pictures, f"preset: style\n{lines}\n")
    assert told.trainings[0].gpu_gib == pytest.approx(gib, abs=0.1)
    assert told.seconds == (None if seconds is None else pytest.approx(2 * 1800 * seconds))


def test_the_room_on_disk_counts_caches_loras_and_the_states_that_stay(pictures: Path) -> None:
    disk = forecast(pictures, "preset: style\n").disk
    assert disk is not None
    assert disk.caches == 18 * (16 * 120 * 120 * 2 + 512 * 4096 * 2)
    assert disk.loras == 2 * 5 * 4_792_320 * 16 * 2
    assert disk.states == 2 * 2 * 4_792_320 * 16 * 4 * 3
    more = forecast(pictures, "preset: style\ntrain: {states: {keep_last: 3}, ema: {decay: 0.99}}\n").disk
    assert more is not None
    assert more.loras == 2 * disk.loras
    assert more.states == 3 * 2 * 4_792_320 * 16 * 4 * 4


def test_preservation_takes_longer(pictures: Path) -> None:
    style = "preset: style\nspeed: reference\n"
    plain = forecast(pictures, style).seconds
    preserving = forecast(pictures, f"{style}trigger: zxq\ntrain: {{preservation: {{class: person}}}}\n").seconds
    assert plain is not None
    assert preserving == pytest.approx(plain * 2.32)


@pytest.mark.parametrize(
    "settings",
    ["data: {resolution: 512}", "train: {rank: 64}", "train: {optimizer: adamw8bit}", "train: {blocks_to_swap: 7}"],
)
def test_what_was_not_measured_has_no_time_and_no_cost(pictures: Path, settings: str) -> None:
    told = forecast(pictures, f"preset: style\n{settings}\n")
    assert told.seconds is None
    assert told.cost(2.5) is None
    assert told.trainings[0].steps == 1800


def test_every_time_is_a_row_of_the_benchmarks() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for (_, swapped), seconds in SECONDS.items():
        assert any(f"| {swapped} |" in line and f"| {seconds} |" in line for line in text.splitlines())
    for speed, rows in FAST_SECONDS.items():
        of_speed = text.partition(f"\n## speed: {speed}\n")[2].partition("\n## ")[0]
        for _, _, seconds in rows:
            assert any(re.search(rf"\| {seconds}0? [|(]", line) for line in of_speed.splitlines()), seconds
