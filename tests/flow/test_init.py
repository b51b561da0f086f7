from __future__ import annotations

import subprocess
import sys

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


def test_a_full_disk_leaves_no_half_of_a_run_yaml(place: Place) -> None:
    limited = ("sh", "-c", 'ulimit -f 1; exec "$0" "$@"', sys.executable, "-m", "wan22lora")
    place.environment["PYTHONDONTWRITEBYTECODE"] = "1"
    words = (*limited, "init", "--preset", "style", "--images", "pictures", "--name", "x", "-o", "x.yaml")
    done = subprocess.run(words, cwd=place.path, env=place.environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert not (place.path / "x.yaml").exists()
