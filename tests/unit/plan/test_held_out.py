"""Which items are kept out of the training, and what that changes in the plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.cli.show import plan_as_script
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source
from wan22lora.plan.held_out import hold_out, hold_out_findings
from wan22lora.plan.prepared import Prepared

RUN = """
name: paper
preset: article-wan22
images: pictures
train: {{epochs: 2}}
{more}
"""
stems = st.sets(st.text("abcdefgh0123", min_size=1, max_size=6), min_size=1, max_size=30)


def pictures_of(stems: set[str], index: int = 0) -> Scan:
    source = Source(index, "images", Path(f"/{index}"), None, Path(f"/cache/{index}"), (64, 64))
    items = (Item(Path(f"/{index}/{stem}.png"), stem, "a bird", (64, 64), None, None) for stem in sorted(stems))
    return Scan(source, tuple(items), ())


@pytest.fixture
def prepare(plan: Callable[..., Prepared]) -> Callable[[str], Prepared]:
    return lambda validation: plan(RUN.format(more=f"validation: {validation}" if validation else ""))


def errors(prepared: Prepared) -> list[str]:
    return [f"{found.where}: {found.message} → {found.fix}" for found in prepared.dataset_findings]


def file(prepared: Prepared) -> str | None:
    return next((file.content for file in prepared.plan.files if file.path.name == "held-out.txt"), None)


def test_without_validation_nothing_is_held_out(prepare: Callable[[str], Prepared]) -> None:
    prepared = prepare("")
    assert file(prepared) is None
    assert prepared.trained == prepared.scans


def test_held_out_items_are_cached_but_not_counted(prepare: Callable[[str], Prepared]) -> None:
    everything, prepared = prepare(""), prepare("{hold_out: 3}")
    assert everything.batches_per_epoch == 18
    assert prepared.batches_per_epoch == 15
    assert [step.predicted_steps for step in prepared.plan.steps[2:]] == [30, 30]
    for step in ("cache-latents", "cache-text"):
        assert prepared.caches[step].expected == everything.caches[step].expected


def test_the_file_names_each_by_cache_folder_and_stem(prepare: Callable[[str], Prepared]) -> None:
    assert file(prepare("{hold_out: [07.png, 03]}".replace("03", '"03"'))) == "0/03\n0/07\n"


def test_a_dry_run_says_which_are_held_out(prepare: Callable[[str], Prepared]) -> None:
    script = plan_as_script(prepare("{hold_out: [07.png, 03.png]}"), ())
    assert "# held out for the validation: 03.png, 07.png\n# 16 batches an epoch" in script
    assert "#   bucket 960×960: 6 in 6 batches" in script


def test_holding_something_out_is_another_training_but_its_caption_is_no_part_of_it(
    prepare: Callable[[str], Prepared], pictures: Path
) -> None:
    def key(prepared: Prepared) -> str:
        return prepared.plan.steps[-1].key["pictures and captions"]

    before = key(prepare("{hold_out: [07.png]}"))
    assert key(prepare("")) != before != key(prepare("{hold_out: [08.png]}"))
    (pictures / "07.txt").write_text("edited", encoding="utf-8")
    assert key(prepare("{hold_out: [07.png]}")) == before
    (pictures / "08.txt").write_text("edited", encoding="utf-8")
    assert key(prepare("{hold_out: [07.png]}")) != before


def test_an_unknown_name_is_an_error_with_the_one_that_was_meant(prepare: Callable[[str], Prepared]) -> None:
    (found,) = errors(prepare("{hold_out: [07.pgn]}"))
    assert found == (
        "run.yaml:6:14 validation.hold_out: there is no picture or clip named '07.pgn' → did you mean '07.png'?"
    )


def test_something_must_be_left_to_train_on(prepare: Callable[[str], Prepared]) -> None:
    assert errors(prepare("{hold_out: 17}")) == []
    (found,) = errors(prepare("{hold_out: 18}"))
    assert "all of 18 items would be held out" in found


def test_a_clip_is_held_out_with_all_its_windows() -> None:
    source = Source(
        0, "videos", Path("/clips"), None, Path("/cache/0"), (64, 64), frames=(5,), frame_extraction="chunk"
    )
    clips = [Item(Path(f"/clips/{name}.mp4"), name, "a bird", (64, 64), 20, 16.0) for name in ("a", "b")]
    short = Item(Path("/clips/c.mp4"), "c", "a bird", (64, 64), 3, 16.0)
    scan = Scan(source, (*clips, short), ())
    held = hold_out(1, [scan])
    assert held.file() in ("0/a\n", "0/b\n")
    (left,) = held.left_of([scan])
    assert len(left.items) == 2
    (found,) = hold_out_findings(2, [scan], "here")
    assert "all of 2 items" in found.message, "a clip too short for a window is nothing to train on"


@given(stems, stems, st.integers(1, 10))
def test_the_choice_is_of_that_size_and_spread_over_the_datasets_alike(
    first: set[str], second: set[str], count: int
) -> None:
    scans = [pictures_of(first, 0), pictures_of(second, 1)]
    held = hold_out(count, scans)
    assert len(held.keys) == min(count, len(first) + len(second))
    assert held == hold_out(count, scans[::-1])
    assert len(held.items(scans)) + sum(len(scan.items) for scan in held.left_of(scans)) == len(first) + len(second)


@given(stems, st.text("xyz", min_size=1, max_size=6), st.integers(1, 10))
def test_a_new_item_takes_at_most_one_place(stems: set[str], new: str, count: int) -> None:
    before, after = hold_out(count, [pictures_of(stems)]), hold_out(count, [pictures_of(stems | {new})])
    assert len(before.keys - after.keys) <= 1
    assert after.keys - before.keys <= {(0, new)}


def test_a_name_that_fits_on_no_line_is_never_held_out() -> None:
    scan = pictures_of({"two\nlines", "end\x0b", "half\udcff", "plain"})
    assert hold_out(4, [scan]).file() == "0/plain\n"
