"""`wan22lora cache` looks at what is cached, explains it and cleans it; and runs take over from each other."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Place

REHEARSED = ("cache", "run.yaml", "--rehearse")


@pytest.fixture
def cached(place: Place, after_command: Callable[..., None]) -> Place:
    """Eighteen pictures, cached in a rehearsal; then one picture is gone and one caption is edited."""
    after_command(*REHEARSED)
    for suffix in (".png", ".txt"):
        (place.path / "pictures" / f"17{suffix}").unlink()
    (place.path / "pictures" / "03.txt").write_text("paperworld, edited\n", encoding="utf-8")
    return place


def files_of(place: Place, name: str = "paper-rehearsal") -> dict[str, int]:
    cache = place.path / "runs" / name / "cache"
    return {str(path.relative_to(cache)): path.stat().st_ino for path in cache.rglob("*.safetensors")}


def test_the_list_has_a_line_for_every_picture_and_the_sum(cached: Place) -> None:
    before = files_of(cached)
    done = cached.wan22lora(*REHEARSED, "--list")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if ".png" in line] == [f"{number:02d}.png" for number in range(17)]
    assert any("03.png" in line and "caption (caption edited)" in line for line in lines)
    assert lines[-1].endswith("33 current, 1 to encode, 2 no longer wanted")
    assert files_of(cached) == before


def test_why_tells_what_was_and_what_is(cached: Place) -> None:
    cached.write("name: paper\npreset: article-wan22\nimages: pictures\ndata: {resolution: 512}\n")
    done = cached.wan22lora(*REHEARSED, "--why")
    assert done.exit_code == 0, done.output
    for part in (
        "1 file to encode, caption edited (caption): 03.png\n"
        "    was: paperworld, picture 3\n"
        "    is:  paperworld, edited",
        "8 files to encode, size changed (latents): 00.png, 01.png, 02.png, 03.png, 04.png and 3 more\n"
        "    size was 960×960, is 512×512",
        "1 file no longer wanted (caption): 17",
    ):
        assert part in done.stdout
    assert "15.png" not in cached.wan22lora(*REHEARSED, "--why", "--only-text").stdout


def test_both_are_there_for_programs(cached: Place) -> None:
    everything = json.loads(cached.wan22lora(*REHEARSED, "--list", "--json").stdout)
    assert len(everything["files"]) == 36
    changed = json.loads(cached.wan22lora(*REHEARSED, "--why", "--json").stdout)
    (edited,) = [file for file in changed["files"] if file["standing"] == "to encode"]
    assert (edited["file"], edited["reason"]) == ("0/03_wan_te.safetensors", "caption edited")
    assert edited["changes"] == {"caption": {"before": "paperworld, picture 3", "now": "paperworld, edited"}}


def test_cleaning_shows_first_and_asks_and_touches_nothing_foreign(cached: Place) -> None:
    cache = cached.run / "cache"
    foreign = [cache / "0" / name for name in ("my_lora_wan.safetensors", "notes.txt")]
    for path in foreign:
        path.write_bytes(b"mine")
    before = files_of(cached)
    asked = cached.wan22lora(*REHEARSED, "--clean")
    assert asked.exit_code == 0, asked.output
    assert "17_0112x0080_wan.safetensors" in asked.stdout
    assert "nothing was removed" in asked.stdout
    assert files_of(cached) == before
    assert cached.wan22lora(*REHEARSED, "--clean", "--yes").exit_code == 0
    gone = before.keys() - files_of(cached).keys()
    assert gone == {"0/17_0112x0080_wan.safetensors", "0/17_wan_te.safetensors", "0/03_wan_te.safetensors"}
    assert all(path.read_bytes() == b"mine" for path in foreign)
    assert "nothing to remove" in cached.wan22lora(*REHEARSED, "--clean").stdout


def test_cleaning_leaves_what_is_wanted_under_another_name(cached: Place) -> None:
    before = files_of(cached)
    for suffix in (".png", ".txt"):
        (cached.path / "pictures" / f"00{suffix}").rename(cached.path / "pictures" / f"z\x1b{suffix}")
    assert cached.wan22lora(*REHEARSED, "--clean", "--yes").exit_code == 0
    gone = before.keys() - files_of(cached).keys()
    assert gone == {"0/17_0112x0080_wan.safetensors", "0/17_wan_te.safetensors", "0/03_wan_te.safetensors"}
    listed = cached.wan22lora(*REHEARSED, "--list").stdout
    assert "1 to encode, 2 to take over, 2 no longer wanted" in listed
    assert "z\\x1b.png" in listed
    assert "\x1b" not in listed


def test_cleaning_removes_what_a_dataset_left_that_is_no_longer_in_run_yaml(place: Place) -> None:
    one = "name: paper\npreset: article-wan22\ndatasets: [{images: pictures}"
    place.write(f"{one}, {{images: pictures, resolution: 512}}]\n")
    assert place.wan22lora(*REHEARSED).exit_code == 0
    place.write(f"{one}]\n")
    left = place.run / "cache" / "1"
    assert place.wan22lora(*REHEARSED).exit_code == 0
    assert len(list(left.iterdir())) == 36
    stranger = left / "stranger_wan.safetensors"
    stranger.write_bytes(b"mine")
    assert place.wan22lora(*REHEARSED, "--clean", "--yes").exit_code == 0
    assert list(left.iterdir()) == [stranger]


@pytest.mark.parametrize(
    "words",
    [
        ("--list", "--why"),
        ("--list", "--dry-run"),
        ("--clean", "--force"),
        ("--yes",),
        ("--clean", "--json"),
        ("--only-text", "--only-latents"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_refused(place: Place, words: tuple[str, ...]) -> None:
    assert place.wan22lora(*REHEARSED, *words).exit_code == 2


def test_a_second_run_takes_over_and_says_so(place: Place) -> None:
    assert place.wan22lora(*REHEARSED).exit_code == 0
    place.write("name: two\npreset: article-wan22\nimages: pictures\n", "two.yaml")
    done = place.wan22lora("cache", "two.yaml", "--rehearse")
    assert "18 of 18 files taken over from the run paper-rehearsal" in done.output
    assert files_of(place, "two-rehearsal") == files_of(place)


def test_the_printed_script_takes_over_and_sets_aside_too(place: Place) -> None:
    assert place.wan22lora(*REHEARSED).exit_code == 0
    pictures = place.path / "pictures"
    for suffix in (".png", ".txt"):
        (pictures / f"00{suffix}").rename(pictures / f"first{suffix}")
    stranger = place.run / "cache" / "0" / "my_lora_wan.safetensors"
    stranger.write_bytes(b"mine")
    before = files_of(place)
    script = place.wan22lora(*REHEARSED, "--dry-run").stdout
    done = subprocess.run(["sh", "-c", script], env=place.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = files_of(place)
    assert after["0/first_wan_te.safetensors"] == before["0/00_wan_te.safetensors"]
    assert after["0/first_0096x0096_wan.safetensors"] == before["0/00_0096x0096_wan.safetensors"]
    assert "0/00_wan_te.safetensors" not in after
    assert [path.read_bytes() for path in (place.run / "previous").rglob("my_lora_wan.safetensors")] == [b"mine"]
    assert not stranger.exists()
    again = subprocess.run(["sh", "-c", script], env=place.environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert files_of(place).keys() == after.keys()


def test_the_printed_script_can_be_run_again_where_files_are_shared_with_another_run(place: Place) -> None:
    assert place.wan22lora(*REHEARSED).exit_code == 0
    place.write("name: two\npreset: article-wan22\nimages: pictures\n", "two.yaml")
    script = place.wan22lora("cache", "two.yaml", "--rehearse", "--dry-run").stdout
    for _ in range(2):
        done = subprocess.run(["sh", "-c", script], env=place.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert files_of(place, "two-rehearsal") == files_of(place)


def test_a_training_that_cannot_go_on_names_what_changed(cached: Place) -> None:
    (cached.path / "pictures" / "03.txt").write_text("paperworld, picture 3\n", encoding="utf-8")
    assert cached.wan22lora("train", "run.yaml", "--rehearse").exit_code == 0
    assert len(list(Path(cached.run, "learned").iterdir())) == 1
    (cached.path / "pictures" / "05.txt").write_text("paperworld, edited\n", encoding="utf-8")
    refused = cached.wan22lora("train", "run.yaml", "--rehearse")
    assert refused.exit_code == 7
    assert "train-high and train-low: pictures and captions changed: 05 (caption edited)" in refused.stderr
    assert cached.wan22lora("train", "run.yaml", "--rehearse", "--restart").exit_code == 0
    assert len(list(Path(cached.run, "learned").iterdir())) == 1


def test_runs_at_once_over_one_folder_each_end_with_all_their_files(place: Place) -> None:
    slow = {"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.05"}
    names = ["one", "two", "three"]
    for name in names:
        place.write(f"name: {name}\npreset: article-wan22\nimages: pictures\n", f"{name}.yaml")
    first = place.start("cache", "one.yaml", "--rehearse", env=slow)
    others = [place.start("cache", f"{name}.yaml", "--rehearse", env=slow) for name in names[1:]]
    for process in (first, *others):
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    for name in names:
        assert len(files_of(place, f"{name}-rehearsal")) == 36
        assert "36 current" in place.wan22lora("cache", f"{name}.yaml", "--rehearse", "--list").stdout


def test_what_a_killed_run_left_half_done_is_neither_taken_over_nor_set_aside(place: Place) -> None:
    slow = {"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.1"}
    killed = place.start(*REHEARSED, env=slow)
    deadline = time.monotonic() + 30
    while len(files_of(place) if place.run.exists() else {}) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    place.write("name: two\npreset: article-wan22\nimages: pictures\n", "two.yaml")
    second = place.wan22lora("cache", "two.yaml", "--rehearse")
    assert second.exit_code == 0, second.output
    assert "taken over" not in second.output
    first = place.wan22lora(*REHEARSED)
    assert first.exit_code == 0, first.output
    assert "taken over from the run two-rehearsal" in first.output
    assert not (place.run / "previous").exists()
    assert files_of(place) == files_of(place, "two-rehearsal")


def test_a_foreign_file_is_said_and_moved_before_it_could_be_trained_on(place: Place) -> None:
    assert place.wan22lora(*REHEARSED).exit_code == 0
    stranger = place.run / "cache" / "0" / "my_lora_wan.safetensors"
    stranger.write_bytes(b"mine")
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert "my_lora_wan.safetensors is not of this run, and musubi trains on every file of such a name" in done.stderr
    assert not stranger.exists()
    (aside,) = (place.run / "previous").rglob("my_lora_wan.safetensors")
    assert aside.read_bytes() == b"mine"
    again = place.wan22lora("train", "run.yaml", "--rehearse")
    assert "not of this run" not in again.output
