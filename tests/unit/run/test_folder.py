"""The run folder: whose it is, what it keeps, and that it never overwrites a result."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from wan22lora.errors import MachineError, RunFolderError
from wan22lora.files import read_json
from wan22lora.plan.model import PlannedFile
from wan22lora.plan.states import read_states
from wan22lora.run.folder import RunFolder

NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "démo", now=lambda: NOON)
    folder.create()
    return folder


def test_naming_a_folder_touches_no_disk(tmp_path: Path) -> None:
    RunFolder(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_folder_can_be_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(MachineError, match="cannot be made"):
        RunFolder(tmp_path / "runs" / "demo").create()


def test_a_claimed_folder_can_be_claimed_again_by_the_same_run(folder: RunFolder) -> None:
    folder.claim("demo", rehearsal=False)
    folder.claim("demo", rehearsal=False)
    marker = json.loads((folder.path / "run.json").read_text(encoding="utf-8"))
    assert marker == {"name": "demo", "rehearsal": False, "created": NOON, "version": marker["version"]}


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (("demo", True), ("demo", False), "holds a rehearsal; a real run cannot continue there"),
        (("demo", False), ("demo", True), "holds a real run; a rehearsal cannot continue there"),
        (("demo", False), ("other", False), "belongs to the run 'demo', not to 'other'"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    folder: RunFolder, first: tuple[str, bool], then: tuple[str, bool], said: str
) -> None:
    folder.claim(first[0], rehearsal=first[1])
    with pytest.raises(RunFolderError, match=said):
        folder.claim(then[0], rehearsal=then[1])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": 1, "rehearsal": false}', '{"name": "demo"}'])
def test_a_folder_with_a_damaged_marker_is_refused(folder: RunFolder, content: str) -> None:
    (folder.path / "run.json").write_text(content)
    with pytest.raises(RunFolderError, match="damaged"):
        folder.claim("demo", rehearsal=False)


def test_a_locked_folder_tells_who_holds_it(folder: RunFolder) -> None:
    with folder.lock(), pytest.raises(RunFolderError) as caught, RunFolder(folder.path).lock():
        pytest.fail("two have the lock")
    assert caught.value.exit_code == 7
    assert f"process {os.getpid()} on {socket.gethostname()} since 20" in caught.value.summary


@pytest.mark.parametrize("holder", [None, "", "[]", '{"pid": 1, "host": "a", "since": "long ago"}'])
def test_a_lock_whose_holder_is_unknown_is_a_lock(folder: RunFolder, holder: str | None) -> None:
    with folder.lock():
        if holder is None:
            (folder.path / "holder.json").unlink()
        else:
            (folder.path / "holder.json").write_text(holder)
        with pytest.raises(RunFolderError, match="in use by another process"), RunFolder(folder.path).lock():
            pytest.fail("two have the lock")


def test_the_lock_is_free_again_after_a_failure(folder: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.lock():
        raise ZeroDivisionError
    with folder.lock():
        pass


def test_keys_are_kept_until_forgotten(folder: RunFolder) -> None:
    assert folder.key("train-high") is None
    folder.store_key("train-high", {"rank": "16", "Größe": "960×960"})
    assert folder.key("train-high") == {"rank": "16", "Größe": "960×960"}
    assert folder.key("train-low") is None
    folder.forget_key("train-high")
    folder.forget_key("train-high")
    assert folder.key("train-high") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"rank": 16}', b"\xff\xfe", b'"x"'])
def test_a_damaged_key_is_no_key(folder: RunFolder, content: bytes) -> None:
    (folder.steps / "train.json").write_bytes(content)
    assert folder.key("train") is None


def test_every_attempt_gets_a_log_of_its_own(folder: RunFolder) -> None:
    names = [folder.new_log(step).name for step in ("cache-latents", "train-high", "train-high")]
    assert names == ["001-cache-latents.log", "002-train-high.log", "003-train-high.log"]
    (folder.logs / "001-cache-latents.log").unlink()
    (folder.logs / "1234-train-high.log").touch()
    (folder.logs / "notes.txt").touch()
    assert folder.new_log("train-low").name == "1235-train-low.log"


def test_old_outputs_are_moved_and_never_overwritten(folder: RunFolder) -> None:
    for round_ in range(3):
        weights, state = folder.output / "a.safetensors", folder.output / "a-state"
        weights.write_text(f"round {round_}")
        state.mkdir()
        (state / "optimizer.bin").touch()
        shelf = folder.set_aside([weights, state, folder.output / "missing"], "train-high")
        assert shelf is not None
        assert (shelf / "a.safetensors").read_text() == f"round {round_}"
        assert (shelf / "a-state" / "optimizer.bin").exists()
        assert list(folder.output.iterdir()) == []
    assert sorted(path.name for path in folder.previous.iterdir()) == [
        "20260101T120000Z-train-high",
        "20260101T120000Z-train-high-2",
        "20260101T120000Z-train-high-3",
    ]


def test_two_files_of_one_name_both_survive(folder: RunFolder, tmp_path: Path) -> None:
    paths = [folder.output / "a.txt", tmp_path / "a.txt"]
    for path in paths:
        path.write_text(str(path))
    shelf = folder.set_aside(paths, "train")
    assert shelf is not None
    assert {path.name for path in shelf.iterdir()} == {"a.txt", "2-a.txt"}


def test_nothing_to_set_aside_makes_no_folder(folder: RunFolder) -> None:
    assert folder.set_aside([folder.output / "missing"], "train") is None
    assert not folder.previous.exists()


def test_states_move_as_a_whole_with_what_says_whose_they_are(folder: RunFolder) -> None:
    folder.store_states_key("train-high", {"rank": "16"})
    (folder.states / "train-high" / "step-00000120").mkdir()
    shelf = folder.set_aside([folder.states / "train-high"], "train-high")
    assert shelf is not None
    assert {path.name for path in (shelf / "states").iterdir()} == {"key.json", "step-00000120"}
    assert list(folder.states.iterdir()) == []


def test_the_key_of_the_states_is_replaced_whole(folder: RunFolder) -> None:
    for key in ({"rank": "16"}, {"rank": "32", "Größe": "960×960"}):
        folder.store_states_key("train-high", key)
        assert read_states(folder.states / "train-high").key == key
    assert [path.name for path in (folder.states / "train-high").iterdir()] == ["key.json"]


def test_a_copy_is_kept_once_and_outlives_the_replaced_file(folder: RunFolder) -> None:
    result = folder.output / "a.safetensors"
    result.write_text("shorter")
    shelf = folder.keep_copies([result, folder.output / "missing"], "train-high")
    assert shelf is not None
    assert folder.keep_copies([result], "train-high") is None
    longer = folder.output / "new"
    longer.write_text("longer")
    longer.replace(result)
    assert [path.read_text() for path in shelf.iterdir()] == ["shorter"]


def test_a_disk_without_hard_links_gets_a_copy(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("os.link", refuse)
    result = folder.output / "a.safetensors"
    result.write_text("shorter")
    shelf = folder.keep_copies([result], "train-high")
    assert shelf is not None
    assert (shelf / result.name).read_text() == "shorter"
    assert folder.keep_copies([result], "train-high") is None


def test_an_extended_training_is_finished_until_it_is_trained_further(folder: RunFolder) -> None:
    folder.store_key("train-high", {"epochs": "3"})
    folder.store_states_key("train-high", {"epochs": "3"})
    folder.extend_key("train-high", 54)
    folder.extend_key("train-high", 54)
    assert folder.key("train-high") is None
    kept = folder.states / "train-high" / "finished-00000054.json"
    assert read_json(kept) == {"epochs": "3"}
    folder.store_key("train-high", {"epochs": "5"})
    assert not kept.exists()


def test_planned_files_are_written_only_where_they_differ(folder: RunFolder) -> None:
    planned = [PlannedFile(folder.path / "dataset.toml", "größe = 1\n"), PlannedFile(folder.path / "x" / "y.yaml", "")]
    assert folder.write_planned(planned) == (planned[0].path, planned[1].path)
    before = planned[0].path.stat().st_mtime_ns
    assert folder.write_planned(planned) == ()
    assert planned[0].path.stat().st_mtime_ns == before
    planned[0].path.write_bytes("größe = 1\r\n".encode())
    assert folder.write_planned(planned) == (planned[0].path,)
    assert planned[0].path.read_bytes() == "größe = 1\n".encode()
    assert list(folder.path.glob(".*.tmp")) == []
