"""Whatever is written, edited by hand, taken back and made again in whatever order: nothing is lost without a word."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22lora.captions import caption_file, changes, journal
from wan22lora.captions.changes import carry_out, changes_to, renamed, settle
from wan22lora.captions.history import edited_since, make_again, step_back, step_forward, take_back
from wan22lora.captions.journal import FOLDER
from wan22lora.errors import DatasetError, MachineError

NAMES = ("a.txt", "b.txt", "c.txt")
Contents = dict[str, bytes | None]
CONTENTS = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from([None, b"", b"cat", b"dog\r\n", b"\xff", "猫".encode()]), min_size=1
)


@dataclass
class Model:
    """What a person expects: a row of changes, and how many of them are made."""

    disk: Contents = field(default_factory=lambda: dict.fromkeys(NAMES))
    row: list[dict[str, tuple[bytes | None, bytes | None]]] = field(default_factory=list)
    made: int = 0

    def write(self, wanted: Contents) -> None:
        change = {name: (self.disk[name], new) for name, new in wanted.items() if self.disk[name] != new}
        if change:
            self.row = [*self.row[: self.made], change]
            self.made += 1
            self.disk.update(wanted)

    def edit(self, wanted: Contents) -> None:
        self.disk.update(wanted)

    def undo(self) -> None:
        if self.made == 0:
            return
        change = self.row[self.made - 1]
        edits = {name: (new, self.disk[name]) for name, (_, new) in change.items() if self.disk[name] != new}
        if edits:
            self.row.insert(self.made, edits)
        self.made -= 1
        self.disk.update({name: old for name, (old, _) in change.items()})

    def redo(self) -> None:
        if self.made == len(self.row):
            return
        change = self.row[self.made]
        edits = {name: (old, self.disk[name]) for name, (old, _) in change.items() if self.disk[name] != old}
        if edits:
            self.row[self.made] = {name: (self.disk[name], new) for name, (_, new) in change.items()}
            self.row.insert(self.made, edits)
            self.made += 1
        self.made += 1
        self.disk.update({name: new for name, (_, new) in change.items()})

    def edited(self, *, back: bool) -> set[str]:
        change = self.row[self.made - 1] if back else self.row[self.made]
        return {name for name, (old, new) in change.items() if self.disk[name] != (new if back else old)}


def on_disk(folder: Path) -> Contents:
    return {name: (folder / name).read_bytes() if (folder / name).exists() else None for name in NAMES}


def write(folder: Path, wanted: Contents) -> None:
    carry_out(changes_to({folder / name: content for name, content in wanted.items()}), "captions replace")


def edit(folder: Path, wanted: Contents) -> None:
    for name, content in wanted.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(content)


def undo(folder: Path) -> None:
    if step := step_back([folder]):
        take_back(step)


def redo(folder: Path) -> None:
    if step := step_forward([folder]):
        make_again(step)


ACTIONS = st.tuples(st.sampled_from(["write", "edit"]), CONTENTS) | st.tuples(st.sampled_from(["undo", "redo"]))


def act(folder: Path, model: Model, action: tuple[Any, ...]) -> None:
    name, *given = action
    real: dict[str, Any] = {"write": write, "edit": edit, "undo": undo, "redo": redo}
    real[name](folder, *given)
    getattr(model, name)(*given)


@settings(deadline=None, max_examples=80)
@given(st.lists(ACTIONS, max_size=14))
def test_any_history_goes_as_a_person_expects(actions: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), Model()
        for action in actions:
            for step, back in ((step_back([folder]), True), (step_forward([folder]), False)):
                assert (step is not None) == (model.made > 0 if back else model.made < len(model.row))
                if step is not None:
                    assert {file.name for file in edited_since(step)} == model.edited(back=back)
            act(folder, model, action)
            assert on_disk(folder) == model.disk
            assert settle([folder]) == []
        while model.made:
            act(folder, model, ("undo",))
            assert on_disk(folder) == model.disk
        while model.made < len(model.row):
            act(folder, model, ("redo",))
            assert on_disk(folder) == model.disk
        assert step_forward([folder]) is None


class Killed(BaseException):
    """What ends a process without a word."""


@contextmanager
def killed_at(point: int) -> Iterator[list[int]]:
    """Ends the process before one of its file operations; yields how many there still might have been."""
    left = [point]

    def before(real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink", "mkdir", "write_bytes", "chmod", "symlink_to"):
            patch.setattr(Path, name, before(getattr(Path, name)))
        patch.setattr(changes, "record", before(journal.record))
        patch.setattr(caption_file, "put", before(caption_file.put))
        yield left


@settings(deadline=None, max_examples=80)
@given(st.lists(ACTIONS, max_size=6), ACTIONS, st.integers(0, 25), st.lists(ACTIONS, max_size=4))
def test_a_kill_at_any_file_operation_leaves_all_of_a_command_or_nothing(
    before: list[tuple[Any, ...]], action: tuple[Any, ...], point: int, after: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), Model()
        for each in before:
            act(folder, model, each)
        if action[0] == "edit":
            return
        unchanged = Model(dict(model.disk), list(model.row), model.made)
        with killed_at(point):
            try:
                act(folder, model, action)
            except Killed:
                getattr(model, action[0])(*action[1:])
        said = settle([folder])
        begun = bool(said) or on_disk(folder) == model.disk
        expected = model if begun else unchanged
        assert on_disk(folder) == expected.disk
        # A kill before the record is one before everything, also where the command would change nothing.
        if model.disk != unchanged.disk:
            for each in after:
                act(folder, expected, each)
                assert on_disk(folder) == expected.disk


def words_found(folder: Path, file: str) -> set[bytes | None]:
    """All that undo and redo bring back."""
    found = {(folder / file).read_bytes() if (folder / file).exists() else None}
    for turn in (undo, redo):
        while step_back([folder]) if turn is undo else step_forward([folder]):
            turn(folder)
            found.add((folder / file).read_bytes() if (folder / file).exists() else None)
    return found


def test_captions_that_were_removed_by_hand_come_back_after_an_undo(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": b"an answer that was paid for"})
    (tmp_path / "a.txt").unlink()
    undo(tmp_path)
    assert b"an answer that was paid for" in words_found(tmp_path, "a.txt")


def test_own_words_come_back_after_a_redo_over_other_ones(tmp_path: Path) -> None:
    edit(tmp_path, {"a.txt": b"my words"})
    write(tmp_path, {"a.txt": b"words of a model"})
    undo(tmp_path)
    edit(tmp_path, {"a.txt": b"my second thoughts"})
    redo(tmp_path)
    assert words_found(tmp_path, "a.txt") >= {b"my words", b"my second thoughts", b"words of a model"}


def test_a_record_of_the_first_form_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 two")
    changes_then = [{"file": "a.txt", "old": "caf\udce9 one", "new": "caf\udce9 two"}]
    entry = {"action": "1", "when": "2026", "what": "captions replace", "state": "done", "changes": changes_then}
    (tmp_path / FOLDER / "000001.json").write_text(json.dumps(entry))
    write(tmp_path, {"b.txt": b"new"})
    for expected in (None, b"caf\xe9 one"):
        undo(tmp_path)
        assert on_disk(tmp_path)["b.txt"] is None
        assert on_disk(tmp_path)["a.txt"] == (expected or b"caf\xe9 two")


def test_a_folder_that_was_moved_keeps_its_history(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write(tmp_path / "one", {"a.txt": b"cat"})
    (tmp_path / "one").rename(tmp_path / "two")
    undo(tmp_path / "two")
    assert on_disk(tmp_path / "two")["a.txt"] is None
    assert not (tmp_path / "one").exists()


def test_captions_renamed_by_hand_stay_and_the_old_names_come_back(tmp_path: Path) -> None:
    edit(tmp_path, {"a.txt": b"cat"})
    write(tmp_path, {"a.txt": b"dog"})
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    undo(tmp_path)
    assert on_disk(tmp_path) == {"a.txt": b"cat", "b.txt": None, "c.txt": b"dog"}


def library(tmp_path: Path, count: int) -> tuple[Path, Path]:
    """A folder whose captions are links into another one."""
    there, here = tmp_path / "library", tmp_path / "pictures"
    there.mkdir()
    here.mkdir()
    for number in range(1, count + 1):
        (there / f"{number}.txt").write_bytes(b"number %d" % number)
        (here / f"{number}.txt").symlink_to(f"../library/{number}.txt")
    return there, here


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".txt"}


def test_links_are_renamed_as_links_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    there, here = library(tmp_path, 3)
    before = texts(there), texts(here)
    carry_out(renamed(here, [(f"{number}.txt", f"{number + 1}.txt") for number in (3, 2, 1)]), "check --fix")
    assert texts(there) == before[0]
    assert {path.name: str(path.readlink()) for path in here.glob("*.txt")} == {
        f"{number + 1}.txt": f"../library/{number}.txt" for number in (1, 2, 3)
    }
    undo(here)
    assert (texts(there), texts(here)) == before
    assert all(path.is_symlink() for path in here.glob("*.txt"))
    redo(here)
    assert texts(here) == {f"{number + 1}.txt": b"number %d" % number for number in (1, 2, 3)}


def test_a_link_that_leads_nowhere_is_replaced_and_comes_back(tmp_path: Path) -> None:
    there, here = library(tmp_path, 1)
    (there / "1.txt").unlink()
    write(here, {"1.txt": b"a cat"})
    assert texts(there) == {}
    assert texts(here) == {"1.txt": b"a cat"}
    undo(here)
    assert str((here / "1.txt").readlink()) == "../library/1.txt"
    redo(here)
    assert texts(here) == {"1.txt": b"a cat"}


def test_links_to_one_file_are_not_told_to_say_different_things(tmp_path: Path) -> None:
    (tmp_path / "shared").write_bytes(b"same")
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).symlink_to("shared")
    with pytest.raises(DatasetError, match=r"a\.txt, b\.txt are links to this one file"):
        write(tmp_path, {"a.txt": b"one", "b.txt": b"two"})
    assert step_back([tmp_path]) is None
    write(tmp_path, {"a.txt": b"one", "b.txt": b"one"})
    assert (tmp_path / "shared").read_bytes() == b"one"
    undo(tmp_path)
    assert (tmp_path / "shared").read_bytes() == b"same"


def test_a_folder_under_two_names_is_one_folder(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    carry_out(changes_to({tmp_path / "one" / "a.txt": b"cat", tmp_path / "link" / "b.txt": b"dog"}), "captions write")
    assert texts(tmp_path / "one") == {"a.txt": b"cat", "b.txt": b"dog"}
    undo(tmp_path / "link")
    assert texts(tmp_path / "one") == {}


def refuse(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """The disk takes nothing for this file any more."""
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target) == file:
            raise OSError(30, "Read-only file system", str(self), None, str(file))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)


def test_what_can_never_be_completed_can_be_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {"a.txt": b"1", "b.txt": b"2", "c.txt": b"3"}
    edit(tmp_path, dict(before))
    refuse(monkeypatch, tmp_path / "b.txt")
    with pytest.raises(
        MachineError, match=r"b\.txt cannot be written \(Read-only file system\); 1 of 3 captions are done"
    ):
        write(tmp_path, {"a.txt": b"one", "b.txt": b"two", "c.txt": b"three"})
    with pytest.raises(MachineError):
        settle([tmp_path])
    step = step_back([tmp_path])
    assert step is not None
    assert edited_since(step) == ()
    take_back(step)
    assert on_disk(tmp_path) == before
    assert settle([tmp_path]) == []


def test_two_folders_are_written_down_both_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        edit(folder, {"a.txt": b"cat"})
    changes_then = changes_to({one / "a.txt": b"dog", two / "a.txt": b"dog"})
    with monkeypatch.context() as patch:
        refuse(patch, two / FOLDER / "000001.json")
        with pytest.raises(MachineError, match="No caption was changed"):
            carry_out(changes_then, "captions replace")
    assert settle([one, two]) == []
    carry_out(changes_then, "captions replace")
    with monkeypatch.context() as patch:
        refuse(patch, two / FOLDER / "000001.json")
        step = step_back([one, two])
        assert step is not None
        with pytest.raises(MachineError, match="No caption was changed"):
            take_back(step)
    assert settle([one, two]) == []
    assert [on_disk(folder)["a.txt"] for folder in (one, two)] == [b"dog", b"dog"]


def test_a_command_over_two_folders_is_made_again_as_one_also_with_edits_before_it(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    carry_out(changes_to({one / "a.txt": b"dog", two / "a.txt": b"dog"}), "captions write")

    def turn(step: Any, how: Any) -> tuple[bytes | None, ...]:
        assert step is not None
        how(step)
        return tuple(on_disk(folder)["a.txt"] for folder in (one, two))

    folders = [one, two]
    assert turn(step_back(folders), take_back) == (None, None)
    edit(two, {"a.txt": b"cat"})
    assert turn(step_forward(folders), make_again) == (b"dog", b"dog")
    assert turn(step_back(folders), take_back) == (None, b"cat")
    assert turn(step_back(folders), take_back) == (None, None)
    assert turn(step_forward(folders), make_again) == (None, b"cat")
    assert turn(step_forward(folders), make_again) == (b"dog", b"dog")


def test_what_is_edited_while_a_command_writes_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = changes._record_all

    def record_all(entries: Any) -> None:
        real(entries)
        (tmp_path / "b.txt").write_bytes(b"my own words")

    monkeypatch.setattr(changes, "_record_all", record_all)
    done = changes_to({tmp_path / "a.txt": b"one", tmp_path / "b.txt": b"two"})
    assert carry_out(done, "captions write") == [tmp_path / "b.txt"]
    assert texts(tmp_path) == {"a.txt": b"one", "b.txt": b"my own words"}


def test_a_record_that_is_closed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a.txt": b"one"})

    def closed(*_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", closed)
    with pytest.raises(MachineError, match="cannot be read"):
        step_back([tmp_path])
