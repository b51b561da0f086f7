"""Captions are changed all together, what was done can be taken back, and a killed change is completed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22lora.captions.caption_file import content_of
from wan22lora.captions.changes import carry_out, changes_to, renamed, settle
from wan22lora.captions.history import edited_since, make_again, step_back, step_forward, take_back
from wan22lora.captions.journal import FOLDER, claimed, newest_first
from wan22lora.check.folders import folder_remarks, list_folder
from wan22lora.dataset.scan import scan
from wan22lora.dataset.source import Source
from wan22lora.errors import DatasetError, MachineError, RunFolderError

NAMES = st.sampled_from(["a.txt", "b.txt", "c.txt", "Ä 1.txt"])
CONTENTS = st.dictionaries(NAMES, st.none() | st.binary(max_size=20))


def captions(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def write(folder: Path, **texts: str) -> None:
    for stem, text in texts.items():
        (folder / f"{stem}.txt").write_text(text, encoding="utf-8")


def change(folder: Path, what: str = "captions replace", **texts: str | None) -> None:
    wanted = {folder / f"{stem}.txt": None if text is None else text.encode() for stem, text in texts.items()}
    carry_out(changes_to(wanted), what)


@settings(deadline=None, max_examples=40)
@given(CONTENTS, st.lists(CONTENTS, max_size=5))
def test_whatever_was_done_can_be_taken_back_and_made_again(
    first: dict[str, bytes | None], then: list[dict[str, bytes | None]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in first.items():
            if content is not None:
                (folder / file).write_bytes(content)
        stages = [captions(folder)]
        for contents in then:
            changes = changes_to({folder / file: content for file, content in contents.items()})
            if changes:
                carry_out(changes, "captions replace")
                stages.append(captions(folder))
        for stage in reversed(stages[:-1]):
            step = step_back([folder])
            assert step is not None
            assert not edited_since(step)
            take_back(step)
            assert captions(folder) == stage
        assert step_back([folder]) is None
        for stage in stages[1:]:
            step = step_forward([folder])
            assert step is not None
            assert not edited_since(step)
            make_again(step)
            assert captions(folder) == stage
        assert step_forward([folder]) is None


@settings(deadline=None, max_examples=24)
@given(st.permutations(["a", "b", "c", "d"]))
def test_captions_can_swap_their_names(order: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, a="1", b="2", c="3", d="4")
        before = captions(folder)
        pairs = [(f"{old}.txt", f"{new}.txt") for old, new in zip("abcd", order, strict=True)]
        carry_out(renamed(folder, pairs), "check --fix")
        assert captions(folder) == {new: before[old] for old, new in pairs}


def test_shifted_names_leave_no_file_behind(tmp_path: Path) -> None:
    write(tmp_path, p1="first", p2="second")
    carry_out(renamed(tmp_path, [("p1.txt", "p2.txt"), ("p2.txt", "p3.txt")]), "check --fix")
    assert captions(tmp_path) == {"p2.txt": b"first", "p3.txt": b"second"}


class Killed(BaseException):
    """What ends a process without a word."""


@contextmanager
def killed_after(count: int) -> Iterator[None]:
    """Ends the process when it has renamed so many files into place, records of changes included."""
    real, left = Path.replace, [count]

    def replace(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with suppress(Killed):
            yield
            pytest.fail("nothing was killed")


@pytest.mark.parametrize("renames", range(7))
def test_a_change_killed_anywhere_is_not_begun_or_completed(tmp_path: Path, renames: int) -> None:
    write(tmp_path, a="1", b="2", c="3", d="4", e="5")
    before = captions(tmp_path)
    with killed_after(renames):
        change(tmp_path, a="one", b="two", c=None, d="four", e="five", f="six")
    said = settle([tmp_path])
    after = {"a.txt": b"one", "b.txt": b"two", "d.txt": b"four", "e.txt": b"five", "f.txt": b"six"}
    assert captions(tmp_path) == (after if renames else before)
    assert len(said) == (1 if renames else 0)
    assert settle([tmp_path]) == []
    if renames:
        step = step_back([tmp_path])
        assert step is not None
        take_back(step)
    assert captions(tmp_path) == before


@pytest.mark.parametrize("renames", range(1, 4))
def test_an_undo_killed_anywhere_is_completed(tmp_path: Path, renames: int) -> None:
    write(tmp_path, a="1", b="2")
    before = captions(tmp_path)
    change(tmp_path, a="one", b="two")
    step = step_back([tmp_path])
    assert step is not None
    with killed_after(renames):
        take_back(step)
    assert "is taken back now" in settle([tmp_path])[0]
    assert captions(tmp_path) == before
    assert step_back([tmp_path]) is None


def test_what_somebody_edited_after_the_kill_is_left_and_named(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    with killed_after(2):
        change(tmp_path, a="one", b="two")
    write(tmp_path, b="my own words")
    assert "edited since and left as they are: b.txt" in settle([tmp_path])[0]
    assert captions(tmp_path) == {"a.txt": b"one", "b.txt": b"my own words"}


def test_an_edit_is_named_before_an_undo_and_comes_back_with_a_redo(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    change(tmp_path, a="one", b="two")
    write(tmp_path, b="my own words")
    step = step_back([tmp_path])
    assert step is not None
    assert edited_since(step) == (tmp_path / "b.txt",)
    take_back(step)
    assert captions(tmp_path) == {"a.txt": b"1", "b.txt": b"2"}
    for expected in (b"two", b"my own words"):
        again = step_forward([tmp_path])
        assert again is not None
        make_again(again)
        assert captions(tmp_path) == {"a.txt": b"one", "b.txt": expected}
    assert step_forward([tmp_path]) is None


def test_a_caption_that_changed_in_the_meantime_stops_the_change_before_it_begins(tmp_path: Path) -> None:
    write(tmp_path, a="1", b="2")
    changes = changes_to({tmp_path / "a.txt": b"one", tmp_path / "b.txt": b"two"})
    write(tmp_path, b="my own words")
    with pytest.raises(DatasetError, match=r"b\.txt"):
        carry_out(changes, "captions replace")
    assert captions(tmp_path) == {"a.txt": b"1", "b.txt": b"my own words"}
    assert step_back([tmp_path]) is None


def test_one_command_over_two_folders_is_taken_back_at_once(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        write(folder, a="cat")
    carry_out(changes_to({folder / "a.txt": b"dog" for folder in folders}), "captions replace")
    change(folders[1], a="bird")
    for expected in ((b"dog", b"dog"), (b"cat", b"cat")):
        step = step_back(folders)
        assert step is not None
        take_back(step)
        assert tuple((folder / "a.txt").read_bytes() for folder in folders) == expected


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "pictures"
    elsewhere.mkdir()
    folder.mkdir()
    write(elsewhere, shared="1")
    write(folder, b="2")
    (folder / "b.txt").chmod(0o640)
    (folder / "a.txt").symlink_to(elsewhere / "shared.txt")
    change(folder, a="one", b="two")
    assert (folder / "a.txt").is_symlink()
    assert (elsewhere / "shared.txt").read_bytes() == b"one"
    assert (folder / "b.txt").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in elsewhere.iterdir()) == ["shared.txt"]


def test_two_commands_do_not_write_at_once(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    with claimed([tmp_path]), pytest.raises(RunFolderError, match="at work"):
        change(tmp_path, a="one")
    assert captions(tmp_path) == {"a.txt": b"1"}


def test_what_cannot_be_recorded_is_not_changed(tmp_path: Path) -> None:
    write(tmp_path, a="1")
    (tmp_path / FOLDER).write_text("somebody's file")
    with pytest.raises(MachineError, match="No caption was changed"):
        change(tmp_path, a="one")
    assert (tmp_path / "a.txt").read_text() == "1"


def test_a_disk_that_fills_half_way_is_told_and_completed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, a="1", b="2")
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if data == b"two":
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MachineError, match="1 of 2 captions are done"):
        change(tmp_path, a="one", b="two")
    monkeypatch.undo()
    settle([tmp_path])
    assert captions(tmp_path) == {"a.txt": b"one", "b.txt": b"two"}


def test_a_change_that_does_not_reach_the_disk_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a="1", b="2")
    real, synced = os.fsync, 0

    def failing(handle: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 2:  # the record is the first
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(MachineError, match=r"\.txt cannot be written \(Input/output error\)"):
        change(tmp_path, a="one", b="two")
    monkeypatch.undo()
    assert [entry.state for entry in newest_first(tmp_path)] == ["writing"]
    assert settle([tmp_path])
    assert captions(tmp_path) == {"a.txt": b"one", "b.txt": b"two"}


def test_each_of_many_captions_is_told(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number}.txt").write_bytes(b"cat")
    told = []
    changes = changes_to({tmp_path / f"{number}.txt": b"dog" for number in range(600)})
    carry_out(changes, "captions replace", lambda: told.append(len(list(tmp_path.glob("*.txt")))))
    assert told == [600] * 600
    assert set(captions(tmp_path).values()) == {b"dog"}
    step = step_back([tmp_path])
    assert step is not None
    take_back(step, lambda: told.append(0))
    assert told[600:] == [0] * 600
    assert set(captions(tmp_path).values()) == {b"cat"}


def test_a_hundred_changes_are_kept(tmp_path: Path) -> None:
    for number in range(103):
        change(tmp_path, a=str(number))
    assert [entry.number for entry in newest_first(tmp_path)] == list(range(103, 3, -1))


def test_damaged_records_are_passed_over(tmp_path: Path) -> None:
    change(tmp_path, a="one")
    for number, text in enumerate(("", "[]", "{}", '{"state": "done", "changes": 3}', '{"state": "gone"}'), 2):
        (tmp_path / FOLDER / f"{number:06d}.json").write_text(text)
    outside = '{"state": "done", "action": "", "when": "9", "what": "", "changes": [{"file": "../x", "old": null}]}'
    (tmp_path / FOLDER / "000009.json").write_text(outside)
    assert settle([tmp_path]) == []
    step = step_back([tmp_path])
    assert step is not None
    assert [change.file.name for change in step.changes] == ["a.txt"]


def test_neither_the_trainer_nor_check_sees_the_records(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    source = Source(0, "images", tmp_path, None, tmp_path.parent / "cache", (64, 64))
    write(tmp_path, a="words")
    before = scan(source)
    change(tmp_path, a="other words")
    change(tmp_path, a="words")
    assert scan(source) == before
    assert list(folder_remarks(source, list_folder(source))) == []


@pytest.mark.parametrize("what", ["pipe", "device"])
def test_what_would_be_read_without_end_is_no_caption(tmp_path: Path, what: str) -> None:
    file = tmp_path / "a.txt"
    if what == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match="a pipe or a device"):
        content_of(file)
