from __future__ import annotations

import pytest

from .conftest import Place


@pytest.mark.parametrize(
    ("preset", "option", "key"), [("style", "--videos", "videos"), ("motion", "--images", "images")]
)
def test_init_writes_the_kind_of_files_that_was_typed(place: Place, preset: str, option: str, key: str) -> None:
    done = place.wan22lora("init", "--preset", preset, option, "pictures", "--name", "x", "-o", "x.yaml")
    assert done.exit_code == 0, done.stderr
    assert f"\n{key}: ./pictures\n" in (place.path / "x.yaml").read_text(encoding="utf-8")


def test_init_says_that_it_cannot_write_there(place: Place) -> None:
    (place.path / "file").write_text("")
    done = place.wan22lora("init", "--preset", "style", "--images", "pictures", "--name", "x", "-o", "file/run.yaml")
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr
