"""What was seen of a file is known again for as long as the file is the same, and nothing else ever is."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22lora.dataset import memory as module
from wan22lora.dataset.memory import Memory
from wan22lora.dataset.scan import scan
from wan22lora.dataset.source import Source

pytestmark = pytest.mark.usefixtures("settled")

LONG_AGO = 1_600_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    return path


def asked(memory: Memory, path: Path) -> list[str]:
    """What was read again, of one question."""
    read = []

    def see() -> str:
        read.append(path.read_text(encoding="utf-8"))
        return read[0]

    assert memory.remembered(path, "text", see, str, str) == path.read_text(encoding="utf-8")
    return read


def again(tmp_path: Path, file: Path, made_with: str = "") -> list[str]:
    """The same, by another process."""
    memory = Memory(tmp_path / "kept", made_with)
    read = asked(memory, file)
    memory.save()
    return read


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, file: Path) -> None:
    assert again(tmp_path, file) == ["one"]
    assert again(tmp_path, file) == []


def test_nothing_is_written_beside_the_file(tmp_path: Path, file: Path) -> None:
    again(tmp_path, file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "kept"]


def rewritten(file: Path) -> None:
    file.write_bytes(b"two")


def replaced(file: Path) -> None:
    """By another file of the same size and time."""
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    other = file.with_name("other")
    other.write_bytes(b"two")
    other.replace(file)
    os.utime(file, ns=times)


def written_with_its_time_put_back(file: Path) -> None:
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(b"two")
    os.utime(file, ns=times)


@pytest.mark.parametrize("change", [rewritten, replaced, written_with_its_time_put_back])
def test_a_changed_file_is_read_again(tmp_path: Path, file: Path, change: Callable[[Path], None]) -> None:
    again(tmp_path, file)
    change(file)
    assert again(tmp_path, file) == ["two"]


def test_other_decoders_or_another_version_read_again(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again(tmp_path, file)
    assert again(tmp_path, file, "pillow 99") == ["one"]
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert again(tmp_path, file, "pillow 99") == ["one"]


def test_a_file_that_may_still_be_written_is_not_kept(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED", 2.0)
    again(tmp_path, file)
    assert again(tmp_path, file) == ["one"]


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path: Path, file: Path) -> None:
    memory = Memory(tmp_path / "kept")

    def see() -> str:
        text = file.read_text(encoding="utf-8")
        file.write_bytes(b"three")
        return text

    assert memory.remembered(file, "text", see, str, str) == "one"
    assert asked(memory, file) == ["three"]


def test_what_cannot_be_seen_is_not_kept(tmp_path: Path, file: Path) -> None:
    memory = Memory(tmp_path / "kept")

    def fails() -> str:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        memory.remembered(file, "text", fails, str, str)
    assert asked(memory, file) == ["one"]


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1), bit=st.none() | st.integers(0, 7))
def test_damage_of_what_is_kept_only_costs_reading_again(
    tmp_path_factory: pytest.TempPathFactory, share: float, bit: int | None
) -> None:
    tmp_path = tmp_path_factory.mktemp("damage")
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    again(tmp_path, file)
    (kept,) = (tmp_path / "kept").iterdir()
    content = bytearray(kept.read_bytes())
    at = int(share * (len(content) - 2))  # the last is a line's end, without which nothing is lost
    if bit is None:
        del content[at:]
    else:
        content[at] ^= 1 << bit
    kept.write_bytes(content)
    assert again(tmp_path, file) == ["one"]
    assert again(tmp_path, file) == []


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"folder": 1}', b"[" * 100_000, b"\xff", b"null"])
def test_other_things_in_its_place_with_a_true_checksum_do_no_harm(tmp_path: Path, file: Path, body: bytes) -> None:
    again(tmp_path, file)
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(module._sum(body).encode() + b"\n" + body)
    assert again(tmp_path, file) == ["one"]


@pytest.mark.parametrize("what", ["file", "folder", "closed"])
def test_a_cache_folder_that_cannot_be_used_costs_nothing_but_time(tmp_path: Path, file: Path, what: str) -> None:
    if what == "file":
        (tmp_path / "kept").write_bytes(b"")
    elif what == "folder":
        again(tmp_path, file)
        (kept,) = (tmp_path / "kept").iterdir()
        kept.unlink()
        kept.mkdir()
    else:
        (tmp_path / "kept").symlink_to(tmp_path / "nowhere" / "at" / "all")
    assert again(tmp_path, file) == ["one"]
    assert again(tmp_path, file) == ["one"]


def test_two_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.png" for index in range(200)]
    for file in files:
        file.write_bytes(file.name.encode())
    memories = [Memory(tmp_path / "kept") for _ in range(2)]

    def work(memory: Memory) -> None:
        for _ in range(10):
            for file in files:
                asked(memory, file)
            memory._changed.add(str(tmp_path))
            memory.save()

    threads = [threading.Thread(target=work, args=(memory,)) for memory in memories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = Memory(tmp_path / "kept")
    assert [file for file in files if asked(last, file)] == []
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_files_that_are_gone_are_forgotten_and_folders_looked_at_long_ago(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "b.png"
    other.write_bytes(b"b")
    again(tmp_path, file)
    again(tmp_path, other)
    file.unlink()
    other.write_bytes(b"c")
    again(tmp_path, other)
    (kept,) = (tmp_path / "kept").iterdir()
    assert list(json.loads(kept.read_bytes().splitlines()[1])["files"]) == ["b.png"]
    os.utime(kept, (LONG_AGO, LONG_AGO))
    monkeypatch.setattr(module, "MOST_FOLDERS", 1)
    (tmp_path / "sub").mkdir()
    another = tmp_path / "sub" / "d.png"
    another.write_bytes(b"d")
    again(tmp_path, another)
    assert not kept.exists()


def test_names_that_are_no_text_are_kept_too(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff[a]\n.png")
    path.write_bytes(b"one")
    again(tmp_path, path)
    assert again(tmp_path, path) == []


def test_a_known_dataset_is_the_same_as_one_seen_now(
    tmp_path: Path,
    picture: Callable[..., Path],
    clip: Callable[..., Path],
    images: Callable[..., Source],
    videos: Callable[..., Source],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture("a.png", (70, 50))
    picture("grey.png").write_bytes(b"no picture")
    clip("b.mp4", frames=5, rate=24)
    memory = Memory(tmp_path / "kept")
    first = [scan(source, memory) for source in (images(), videos(source_fps=24.0))]
    memory.save()

    def never(*_: Any) -> Any:
        raise AssertionError("an unchanged file was opened")

    later = Memory(tmp_path / "kept")
    monkeypatch.setattr("wan22lora.dataset.scan.read_clip", never)
    assert [scan(source, later) for source in (images(), videos(source_fps=24.0))] == first
