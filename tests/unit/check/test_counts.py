"""How many there are, and how datasets and batches come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wan22lora.check.examine import examine
from wan22lora.dataset.scan import scan
from wan22lora.dataset.source import Source

from .conftest import Said


@pytest.mark.parametrize(("count", "advised"), [(9, True), (10, False), (30, False), (31, True)])
def test_few_and_many_pictures_are_advice_with_its_source(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, count: int, advised: bool
) -> None:
    for index in range(count):
        picture(f"{index}.png")
    remarks = said(images())
    assert ("count" in remarks) is advised
    if advised:
        assert remarks["count"].level == "note"
        assert "18 pictures" in remarks["count"].why
        assert "person article" in remarks["count"].why


def test_datasets_are_weighed_after_repeats(
    picture: Callable[..., Path], images: Callable[..., Source], said: Said, folder: Path
) -> None:
    for index in range(10):
        picture(f"large/{index}.png")
    picture("small/a.png")
    large, small = images(directory=folder / "large"), images(directory=folder / "small")
    remark = said(large, small)["balance"]
    assert remark.level == "warning"
    assert remark.fix.startswith("`repeats: 10`")
    even = said(large, images(directory=folder / "small", repeats=5))["balance"]
    assert even.level == "note"
    assert "67% : 33%" in even.message
    assert "balance" not in said(large, images(directory=folder / "small", repeats=10))


def test_partial_batches_are_advice(picture: Callable[..., Path], images: Callable[..., Source], said: Said) -> None:
    for index in range(5):
        picture(f"{index}.png")
    assert said(images(batch_size=2))["partial-batch"].files == ("128×128 (last of 1)",)
    assert "partial-batch" not in said(images())


def test_what_is_held_out_is_not_counted(
    picture: Callable[..., Path], images: Callable[..., Source], folder: Path
) -> None:
    for index in range(10):
        picture(f"large/{index}.png")
        picture(f"small/{index}.png")
    scans = [scan(images(directory=folder / name)) for name in ("large", "small")]
    trained = [scans[0], replace(scans[1], items=scans[1].items[:5])]
    assert "balance" not in {remark.kind for remark in examine(scans, ())}
    by_kind = {remark.kind: remark for remark in examine(scans, (), trained=trained)}
    assert "67% : 33%" in by_kind["balance"].message
    kinds = {remark.kind for remark in examine(scans[:1], (), trained=[replace(scans[0], items=scans[0].items[:9])])}
    assert "count" in kinds
