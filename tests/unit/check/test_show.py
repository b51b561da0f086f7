"""What `check` says fits the screen, names its files, and can be read by programs."""

from __future__ import annotations

import json

from wan22lora.check.forecast import Disk, Forecast, Training
from wan22lora.check.remark import Remark, worst_first
from wan22lora.cli.show_check import all_well, as_json, as_text
from wan22lora.errors import Named

REMARKS = worst_first(
    [
        Remark("count", "note", "pictures", "3 pictures", "the article trains on 18", "Add some."),
        Remark(
            "alike",
            "warning",
            "pictures",
            "2 pictures look alike",
            "it matters " * 12,
            "Keep one.",
            (Named("a.png = b.png"),),
        ),
        Remark(
            "broken",
            "error",
            "pictures",
            "7 pictures cannot be decoded",
            about=tuple(Named(f"{n}.png") for n in range(7)),
        ),
    ]
)
TRAININGS = (
    Training("train-high", 18, 1800, 18.9, 0.0, 1998.0),
    Training("train-low", 18, 1800, None, 0.0, None),
)
DISK = Disk(caches=80_000_000, loras=300_000_000, states=3_700_000_000)


def test_errors_come_first_and_few_names_are_shown() -> None:
    text = as_text(REMARKS, Forecast((), 18), None)
    assert text.index("ERROR") < text.index("warning") < text.index("advice")
    assert "0.png, 1.png, 2.png, 3.png, 4.png and 2 more" in " ".join(text.split())
    assert text.count("pictures\n") == 1
    assert text.splitlines()[-1] == "1 error, 1 warning, 1 of advice."


def test_lines_fit_the_screen() -> None:
    for width in (40, 80, 100):
        for forecast in (Forecast((), 18), Forecast((), 18, TRAININGS, DISK), Forecast((), 18, TRAININGS[:1], DISK)):
            assert max(map(len, as_text(REMARKS, forecast, 2.5, width).splitlines())) <= width


def test_the_json_names_every_file() -> None:
    said = json.loads(as_json(REMARKS, Forecast((), 18), None))
    assert not said["ok"]
    assert len(said["remarks"][0]["files"]) == 7
    assert set(said["remarks"][0]) == {"kind", "level", "where", "message", "why", "fix", "files"}


def test_a_name_that_is_no_text_can_be_printed() -> None:
    name = "caf\udce9.png"
    odd = Remark("alike", "warning", name, name, name, name, (Named(name),))
    assert as_text([odd], Forecast((), 0), None).encode().lower().count(b"caf\\udce9.png") == 5
    as_json([odd], Forecast((), 0), None).encode()


def test_warnings_and_advice_are_well() -> None:
    assert all_well(REMARKS[1:])
    assert not all_well(REMARKS)


def test_the_cost_is_told_only_where_the_time_is_known() -> None:
    known = Forecast((), 18, TRAININGS[:1], DISK)
    assert known.cost(2.0) == 1.11
    assert "cost: about 1.11" in as_text((), known, 2.0)
    unknown = Forecast((), 18, TRAININGS, DISK)
    assert unknown.cost(2.0) is None
    assert "not measured" in as_text((), unknown, 2.0)
    assert "cost" not in as_text((), known, None)
