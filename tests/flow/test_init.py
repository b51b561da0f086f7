from __future__ import annotations

from .conftest import Place


def test_init_says_that_it_cannot_write_there(place: Place) -> None:
    (place.path / "file").write_text("")
    done = place.wan22lora("init", "--preset", "style", "--images", "pictures", "--name", "x", "-o", "file/run.yaml")
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr
