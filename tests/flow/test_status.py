"""`wan22lora status` beside runs that go on, end and are killed."""

from __future__ import annotations

import json
import signal
import time

from .conftest import Place


def status(place: Place, *more: str) -> dict[str, object]:
    told = json.loads(place.wan22lora("status", "run.yaml", "--rehearse", "--json", *more).stdout)
    assert isinstance(told, dict)
    return told


def test_before_the_first_run_it_says_what_to_type(place: Place) -> None:
    done = place.wan22lora("status", "run.yaml", "--rehearse")
    assert done.exit_code == 7
    assert "holds no run yet" in done.stderr
    assert "wan22lora train run.yaml --rehearse" in done.stderr


def test_who_has_only_rehearsed_is_told_how_to_look_at_that(place: Place) -> None:
    assert "--rehearse" not in place.wan22lora("status", "run.yaml").stderr
    place.wan22lora("cache", "run.yaml", "--rehearse")
    done = place.wan22lora("status", "run.yaml")
    assert done.exit_code == 7
    assert "→ wan22lora status run.yaml --rehearse " in done.stderr


def test_what_to_type_can_be_pasted_where_a_name_has_spaces(place: Place) -> None:
    place.write("name: paper\npreset: style\nimages: pictures\n", "my run.yaml")
    done = place.wan22lora("status", "my run.yaml")
    assert "wan22lora train 'my run.yaml'" in done.stderr


def test_a_run_that_goes_on_is_killed_and_ends(place: Place) -> None:
    train = place.start("train", "run.yaml", "--rehearse", env={"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.5"})
    ledger = place.run / "events.jsonl"
    deadline = time.monotonic() + 30
    while not (ledger.exists() and '"train-step"' in ledger.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert status(place)["outcome"] == "running"
    assert "running  train-high" in place.wan22lora("status", "run.yaml", "--rehearse").stdout
    train.send_signal(signal.SIGKILL)
    train.communicate()
    told = place.wan22lora("status", "run.yaml", "--rehearse").stdout
    assert "was killed" in told
    assert max(map(len, told.splitlines())) <= max(80, len(str(place.run)))
    deadline = time.monotonic() + 30
    while place.wan22lora("train", "run.yaml", "--rehearse").exit_code == 7:  # the killed run's trainer saves a state
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert status(place)["outcome"] == "done"


def test_the_curves_are_written_for_tensorboard(place: Place) -> None:
    place.wan22lora("train", "run.yaml", "--rehearse")
    done = place.wan22lora("status", "run.yaml", "--rehearse", "--tensorboard", "curves")
    assert done.exit_code == 0, done.output
    assert "tensorboard --logdir curves" in done.stderr
    files = (place.path / "curves").rglob("*tfevents*")
    assert sorted(path.parent.name for path in files) == ["train-high", "train-low"]


def test_what_cannot_be_read_is_no_bug(place: Place) -> None:
    done = place.wan22lora("status", "pictures")
    assert done.exit_code == 2
    assert "pictures: is a folder\n→ name the file: pictures/run.yaml" in done.stderr
    (place.run / "events.jsonl").mkdir(parents=True)
    for command in ("status", "train"):
        done = place.wan22lora(command, "run.yaml", "--rehearse")
        assert done.exit_code == 7, done.output
        assert "events.jsonl cannot be read: Is a directory" in done.stderr
