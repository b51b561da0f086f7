"""Which run folders a machine knows."""

from __future__ import annotations

from pathlib import Path

from wan22lora.machine.known_runs import known_runs, note_run


def test_a_noted_run_is_known_as_long_as_its_folder_is_there(tmp_path: Path) -> None:
    runs = [tmp_path / "runs" / name for name in ("one", "zwei ü", "three\nlines")]
    for run in runs:
        run.mkdir(parents=True)
        note_run(tmp_path / "known", run)
        note_run(tmp_path / "known", run)
    assert sorted(known_runs(tmp_path / "known")) == sorted(runs)
    runs[0].rmdir()
    assert sorted(known_runs(tmp_path / "known")) == sorted(runs[1:])


def test_notes_that_say_nothing_and_a_place_that_cannot_be_written_stop_nobody(tmp_path: Path) -> None:
    known = tmp_path / "known"
    assert list(known_runs(known)) == []
    known.mkdir()
    (known / "a").write_bytes(b"\xff\xfe")
    (known / "b").write_bytes(b"/nowhere\0")
    (known / "c").mkdir()
    assert list(known_runs(known)) == []
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"a file")
    note_run(blocked / "known", tmp_path)
    assert list(known_runs(blocked / "known")) == []
