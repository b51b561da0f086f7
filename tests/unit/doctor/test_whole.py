"""All checks together: what a right machine says, and that no check can spoil the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import pytest

from wan22lora.doctor.check import Check, ok, warning
from wan22lora.doctor.examine import GROUPS, Group, examine
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.report import all_well, as_json, as_text, summary


def test_on_a_right_machine_everything_is_ok(healthy: Facts) -> None:
    groups = examine(healthy)
    assert [check for group in groups for check in group.checks if check.status != "ok"] == []
    assert all_well(groups)
    assert summary(groups).startswith("Nothing must be put right")


def test_on_a_right_machine_a_right_run_is_ok(with_run: Callable[..., Facts]) -> None:
    groups = examine(with_run())
    assert [check for group in groups for check in group.checks if check.status != "ok"] == []
    assert groups[0].title == "The run"


def test_of_a_machine_of_which_nothing_is_known_nothing_is_a_crash(healthy: Facts) -> None:
    nothing = Facts(machine=healthy.machine, settings=healthy.settings)
    assert not [check for group in examine(nothing) for check in group.checks if "bug" in check.text]


@pytest.mark.parametrize("name", [field.name for field in fields(Facts) if field.name != "bugs"])
def test_a_fact_that_makes_checks_fail_spoils_no_other_check(healthy: Facts, name: str) -> None:
    right = {check for group in examine(healthy) for check in group.checks}
    groups = examine(replace(healthy, **{name: object()}))  # type: ignore[arg-type]
    told = {check for group in groups for check in group.checks}
    bugs = {check for check in told if "bug in wan22lora" in check.text}
    assert {check.status for check in bugs} <= {"warning"}
    assert told & right or name == "machine"
    assert len(told) >= len(GROUPS) - 1


def test_a_check_that_fails_by_a_bug_keeps_what_it_had_said(healthy: Facts) -> None:
    def torn(_: Facts) -> Iterator[Check]:
        yield ok("a", "said before")
        raise KeyError("gone")

    def whole(_: Facts) -> Iterator[Check]:
        yield ok("b", "said after")

    (group,) = examine(healthy, [("Group", (torn, whole))])
    assert [check.name for check in group.checks] == ["a", "torn", "b"]
    assert group.checks[1].status == "warning"
    assert "KeyError: 'gone'" in group.checks[1].text


def test_a_question_that_failed_is_told_at_the_end(healthy: Facts) -> None:
    groups = examine(replace(healthy, ram=None, bugs=(warning("ram", "could not be checked"),)))
    assert groups[-1].title == "wan22lora"
    assert all_well(groups)


def test_json_has_the_four_fields_and_the_outcome(healthy: Facts) -> None:
    told = json.loads(as_json(examine(replace(healthy, git=None))))
    assert told["ok"] is True
    assert {frozenset(check) for check in told["checks"]} == {frozenset({"name", "status", "text", "fix"})}
    assert [check["name"] for check in told["checks"] if check["status"] == "warning"] == ["git"]


def test_lines_fit_80_columns_but_commands_stay_whole() -> None:
    long = "wan22lora models fetch " + "t2v-high " * 12
    checks = (
        Check("a", "failure", "word " * 60, long.strip()),
        Check("b", "warning", "word " * 60, "some advice that is no command " * 5),
    )
    lines = as_text((Group("Title", checks),)).splitlines()
    assert [line for line in lines if len(line) > 80] == [f"{' ' * 11}→ {long.strip()}"]


def test_each_mark_can_be_coloured() -> None:
    text = as_text((Group("T", (ok("a", "fine"),)),), coloured=lambda mark, status: f"<{status}>{mark}</>")
    assert text.splitlines()[1] == "  <ok>ok</>       fine"


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["ok", "ok"], "Nothing must be put right; 0 warnings, 2 ok."),
        (["failure", "warning"], "1 thing must be put right; 1 warning, 0 ok."),
        (["failure", "failure"], "2 things must be put right; 0 warnings, 0 ok."),
    ],
)
def test_the_last_line_counts(statuses: list[str], said: str) -> None:
    checks = tuple(Check("a", status, "t") for status in statuses)  # type: ignore[arg-type]
    assert summary((Group("T", checks),)) == said


def test_every_question_has_a_name_of_its_own() -> None:
    names = [question.__name__ for _, questions in GROUPS for question in questions]
    assert len(names) == len(set(names))
