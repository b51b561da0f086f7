"""What `train` says is said by `check` in its own form, and every kind has a title and a place in the docs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from wan22lora.check.remark import from_finding
from wan22lora.dataset.problems import Problems
from wan22lora.errors import Finding, Named
from wan22lora.kinds import TITLES, FindingKind

DOCS = Path(__file__).parents[3] / "docs" / "dataset.md"


def test_a_finding_about_many_files_keeps_all_of_them_and_names_none_twice() -> None:
    problems = Problems(Path("/pictures"), "picture")
    for number in range(9):
        problems.add("caption-missing", "without: a caption", f"{number}.png", Path(f"/pictures/{number}.png"), fix="")
    (finding,) = problems.findings()
    assert finding.message == "9 pictures without: a caption: 0.png, 1.png, 2.png, 3.png, 4.png and 4 more"
    remark = from_finding(finding)
    assert remark.message == "9 pictures without: a caption"
    assert remark.about == tuple(Named(f"{number}.png", (Path(f"/pictures/{number}.png"),)) for number in range(9))


def test_what_follows_the_names_stays() -> None:
    about = (Named("a.png"), Named("b.png"))
    remark = from_finding(Finding("", "2 captions lack it: a.png, b.png; to preserve", about=about))
    assert remark.message == "2 captions lack it; to preserve"
    assert from_finding(Finding("", "what: ever")).message == "what: ever"


def test_every_kind_has_a_title_and_is_in_the_docs() -> None:
    assert set(get_args(FindingKind)) == set(TITLES)
    assert len(set(TITLES.values())) == len(TITLES)
    documented = DOCS.read_text(encoding="utf-8")
    assert [kind for kind in TITLES if f"`{kind}`" not in documented] == []
