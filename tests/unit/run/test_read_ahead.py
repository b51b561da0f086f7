"""Reading a weight file ahead: all of it or as much as there is room for, and never in anybody's way."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wan22lora.machine.ram import Ram
from wan22lora.plan.model import Step, StepId
from wan22lora.run.read_ahead import MARGIN, PIECE, ReadAhead, read_ahead_during

SIZE = 3 * PIECE + 1000


def roomy() -> Ram:
    return Ram(1 << 40, 1 << 39)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "low.safetensors"
    path.write_bytes(os.urandom(1000) * (SIZE // 1000) + b"x" * (SIZE % 1000))
    return path


def news(ahead: ReadAhead) -> str:
    deadline = time.monotonic() + 10
    while not (text := ahead.news()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return text


def after_its_end(ahead: ReadAhead) -> str:
    ahead._thread.join(10)
    return ahead.news()


def test_a_file_is_read_whole_and_told_once(weights: Path) -> None:
    ahead = ReadAhead(weights, "train-low", roomy)
    assert ahead.news() == ""
    ahead.start()
    ahead.start()
    assert re.fullmatch(r"low\.safetensors: 0\.01 GB read ahead into memory in \d s", news(ahead))
    assert ahead._read == SIZE
    ahead.stop()
    assert ahead.news() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which pages it holds in memory")
def test_the_pages_are_in_memory_afterwards(weights: Path) -> None:
    with weights.open("r+b") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(weights) > 0.5:
        pytest.skip("this file system keeps all its files in memory")
    ahead = ReadAhead(weights, "train-low", roomy)
    ahead.start()
    news(ahead)
    assert resident(weights) > 0.95  # the kernel may take a page back at any time


def resident(path: Path) -> float:
    """The share of a file's pages that the page cache holds."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        vector = (ctypes.c_ubyte * pages)()
        first = ctypes.c_char.from_buffer(mapped)
        address, size = ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(len(mapped))
        failed = ctypes.CDLL(None, use_errno=True).mincore(address, size, vector)
        del first
        assert not failed, os.strerror(ctypes.get_errno())
        return sum(each & 1 for each in vector) / pages


def test_a_machine_without_room_reads_nothing_and_says_so(weights: Path) -> None:
    ahead = ReadAhead(weights, "train-low", lambda: Ram(1 << 35, SIZE + MARGIN - 1))
    ahead.start()
    text = after_its_end(ahead)
    assert text == "low.safetensors is not read ahead: 4.3 GB of RAM are free, and 4.3 GB are wanted"
    assert ahead._read == 0


def test_it_gives_way_where_ram_becomes_scarce(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wan22lora.run.read_ahead._LOOK_EVERY", 1)
    left: Iterator[int] = iter([1 << 35, 1 << 35, 1 << 30])
    ahead = ReadAhead(weights, "train-low", lambda: Ram(1 << 36, next(left)))
    ahead.start()
    assert after_its_end(ahead).startswith("low.safetensors: 0.01 GB of 0.01 GB read ahead into memory and no further:")
    assert ahead._read == 2 * PIECE


def test_a_stop_does_not_wait_and_ends_the_reading(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wan22lora.run.read_ahead._LEAST_PAUSE", 60.0)
    ahead = ReadAhead(weights, "train-low", roomy)
    ahead.start()
    while not ahead._read:
        time.sleep(0.005)
    begin = time.monotonic()
    ahead.stop()
    assert "low.safetensors: 0.00 GB of 0.01 GB read ahead into memory" in after_its_end(ahead)
    assert time.monotonic() - begin < 5
    assert ahead._read == PIECE


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: (path.unlink(), path.mkdir())], ids=["gone", "a folder"])
def test_what_cannot_be_read_changes_nothing(weights: Path, spoil: Callable[[Path], object]) -> None:
    spoil(weights)
    ahead = ReadAhead(weights, "train-low", roomy)
    ahead.start()
    assert after_its_end(ahead) == ""
    ahead.stop()
    assert ahead.news() == ""


def test_a_machine_that_tells_nothing_of_its_ram_is_left_alone(weights: Path) -> None:
    ahead = ReadAhead(weights, "train-low", lambda: None)
    ahead.start()
    assert after_its_end(ahead) == ""
    assert ahead._read == 0


def step(step_id: StepId, dit: str = "", fresh: bool = False) -> Step:
    return Step(step_id, ("python", *(("--dit", dit) if dit else ()), "--sdpa"), Path(), {}, fresh=fresh)


def test_the_file_is_that_of_the_next_training_that_will_run() -> None:
    high, low = step("train-high", "high"), step("train-low", "low")
    ahead = read_ahead_during(high, [low])
    assert ahead is not None
    assert (ahead._path, ahead.step_id) == (Path("low"), "train-low")
    assert read_ahead_during(low, []) is None
    assert read_ahead_during(high, [step("train-low", "low", fresh=True)]) is None
    assert read_ahead_during(high, [step("train-low", "high")]) is None
    assert read_ahead_during(step("cache-text"), [high, low]) is None
