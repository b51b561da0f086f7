"""The forecast of a run is that of its plan, and says nothing of time that was not measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.check.forecast import Forecast, forecast_of_run
from wan22lora.check.forecast_lines import forecast_lines
from wan22lora.check.speed import FAST_SECONDS, FAST_SWAPPED_SECONDS, SECONDS
from wan22lora.doctor.run_facts import Run, read_run
from wan22lora.machine.settings import Machine
from wan22lora.plan.measured import Known, Measured, work_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(18):
        Image.new("RGB", (96, 96), (index * 10, 90, 40)).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"zxq, picture {index}", encoding="utf-8")
    return folder


def read(pictures: Path, text: str) -> Run:
    file = pictures.parent / "run.yaml"
    file.write_text(f"name: paper\nimages: pictures\n{text}", encoding="utf-8")
    machine = Machine(pictures.parent, "test", Path("python"), pictures.parent / "models")
    run = read_run(file, machine, lambda: 80.0)
    assert run.problems == ()
    return run


def forecast(pictures: Path, text: str) -> Forecast:
    return forecast_of_run(read(pictures, text))


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
        ("", 56.6, 0.417),
        ("hardware: 48gb", 31.9, 0.449),
        ("hardware: 24gb", 20.2, 0.544),
        ("hardware: 16gb", 13.4, None),
        ("hardware: 16gb\ntrain: {blocks_to_swap: 24}", 9.4, 1.61),
        ("hardware: 16gb\ntrain: {blocks_to_swap: 20}", 10.7, None),
        ("hardware: 16gb\ntrigger: zxq\ntrain: {blocks_to_swap: 24, preservation: {class: person}}", 9.7, None),
        ("speed: max\ntrain: {blocks_to_swap: 24}", 9.4, None),
        ("train: {gradient_checkpointing: true}", 31.9, 0.449),
        ("train: {network_dropout: 0.1}", 18.9, 1.11),
        ("speed: max\nhardware: 48gb", 31.6, 0.338),
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
    for (_, swapped), seconds in [*SECONDS.items(), *FAST_SWAPPED_SECONDS.items()]:
        assert any(f"| {swapped} |" in line and re.search(rf"\| {seconds} [|(]", line) for line in text.splitlines())
    for speed, rows in FAST_SECONDS.items():
        of_speed = text.partition(f"\n## speed: {speed}\n")[2].partition("\n## ")[0]
        for _, _, seconds in rows:
            assert any(re.search(rf"\| {seconds}0? [|(]", line) for line in of_speed.splitlines()), seconds


H200 = "NVIDIA H200"


def measured_by(pictures: Path, text: str, **taken: float | None) -> Measured:
    """What a run with these settings took, a training of two hours ago."""
    run = read(pictures, text)
    assert run.spec is not None
    assert run.prepared is not None
    expert = run.spec.experts[0]
    work = work_of(run.spec, expert, run.prepared.trained, H200, 1)
    assert work is not None
    figures = {"seconds": 0.31, "gpu_peak": 25 * 2**30, **taken}
    return Measured(work, "earlier", 1_790_000_000.0, 500, **figures)  # type: ignore[arg-type]


def test_what_was_measured_here_replaces_the_table(pictures: Path) -> None:
    text = "preset: style\nhardware: 24gb\n"
    measured = measured_by(pictures, text)
    told = forecast_of_run(read(pictures, text), Known(H200, (measured,)))
    assert told.seconds == pytest.approx(2 * 1800 * 0.31)
    assert [each.gpu_gib for each in told.trainings] == [25, 25]
    (time,) = [line for line in forecast_lines(told, None) if line.startswith("time: ")]
    assert "19 min for all steps, measured on this kind of GPU (NVIDIA H200) on 2026-09-21 in run earlier;" in time
    assert "train-high: 1,800 steps, 18 an epoch; 25.0 GiB of GPU memory" in list(forecast_lines(told, None))


def test_a_training_that_is_not_alike_keeps_the_tables_figures(pictures: Path) -> None:
    text = "preset: style\nhardware: 24gb\n"
    measured = measured_by(pictures, f"{text}train: {{rank: 32}}\n")
    told = forecast_of_run(read(pictures, text), Known(H200, (measured,)))
    assert told == forecast_of_run(read(pictures, text))
    assert "measured on one NVIDIA H200, the GPU of docs/benchmarks.md" in "\n".join(forecast_lines(told, None))


def test_experts_with_other_settings_have_each_its_own(pictures: Path) -> None:
    text = "preset: style\nhardware: 24gb\n"
    both = "experts: {low: {rank: 32}}\n"
    measured = measured_by(pictures, f"{text}train: {{rank: 32}}\n", gpu_peak=None)
    told = forecast_of_run(read(pictures, text + both), Known(H200, (measured,)))
    assert [each.measured for each in told.trainings] == [None, measured]
    assert told.seconds == pytest.approx(1800 * (0.544 + 0.31))
    (time,) = [line for line in forecast_lines(told, None) if line.startswith("time: ")]
    assert "in run earlier and on one NVIDIA H200" in time


def test_what_the_table_lacks_is_known_once_it_was_measured(pictures: Path) -> None:
    text = "preset: style\nhardware: 24gb\ndata: {resolution: 512, batch_size: 2}\ntrain: {gradient_accumulation: 3}\n"
    assert forecast(pictures, text).seconds is None
    told = forecast_of_run(read(pictures, text), Known(H200, (measured_by(pictures, text),)))
    assert [each.steps for each in told.trainings] == [300, 300]
    assert told.seconds == pytest.approx(2 * 300 * 0.31)


def test_experts_that_train_at_the_same_time_take_the_time_of_one_and_cost_as_two(pictures: Path) -> None:
    text = "preset: style\nspeed: reference\n"
    one, two = (forecast_of_run(read(pictures, text), gpus=gpus) for gpus in (("0",), ("0", "1")))
    assert [one.waited, two.waited] == pytest.approx([2 * 1800 * 1.11, 1800 * 1.11])
    assert one.cost(2.5) == two.cost(2.5)
    (time,) = [line for line in forecast_lines(two, None) if line.startswith("time: ")]
    assert time.startswith("time: 33 min for all steps, both experts at the same time, measured on one NVIDIA H200")
    off = forecast_of_run(read(pictures, f"{text}parallel: off\n"), gpus=("0", "1"))
    assert (off.at_once, off.waited) == (False, one.waited)
