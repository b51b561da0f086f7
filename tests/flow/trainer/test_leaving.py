"""The trainer's process leaves quickly, and does what must be done before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "src"
BEGINNING = """
import sys
from wan22lora.trainer.leaving import Leaving
leaving = Leaving()
"""
A_THREAD_A_WORKER_AND_A_LOG = """
import atexit, multiprocessing, threading, time

def work(path):
    time.sleep(0.2)
    with open(path, "w") as file:
        file.write("uploaded")

atexit.register(print, "closed")
worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=[600], daemon=True)
worker.start()
threading.Thread(target=work, args=[sys.argv[1]]).start()
print(worker.pid)
print("the last line", end="")
"""
SOMETHING_LARGE = """
class Large:
    def __del__(self):
        print("taken apart")

large = Large()
"""


def run(*parts: str, arguments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-c", "".join((BEGINNING, *parts)), *arguments],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def end(code: str) -> str:
    return f"\nleaving.code = {code}\nsys.exit(leaving.code)\n"


def test_threads_registered_functions_and_the_last_line_are_waited_for(tmp_path: Path) -> None:
    left = run(A_THREAD_A_WORKER_AND_A_LOG, end("0"), arguments=(str(tmp_path / "upload"),))
    assert (left.returncode, left.stderr) == (0, "")
    assert left.stdout.splitlines()[1:] == ["the last lineclosed"]
    assert (tmp_path / "upload").read_text() == "uploaded"


def test_no_worker_is_left_behind(tmp_path: Path) -> None:
    left = run(A_THREAD_A_WORKER_AND_A_LOG, end("0"), arguments=(str(tmp_path / "upload"),))
    assert not Path("/proc", left.stdout.splitlines()[0]).exists()


@pytest.mark.parametrize("code", [0, 1, 130])
def test_nothing_is_taken_apart_and_the_exit_code_is_kept(code: int) -> None:
    left = run(SOMETHING_LARGE, end(str(code)))
    assert (left.returncode, left.stdout) == (code, "")


def test_without_an_exit_code_python_ends_as_always() -> None:
    left = run(SOMETHING_LARGE, "\nraise RuntimeError('nobody caught this')\n")
    assert (left.returncode, left.stdout) == (1, "taken apart\n")
    assert left.stderr.endswith("RuntimeError: nobody caught this\n")
