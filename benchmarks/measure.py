"""What the other benchmarks share: one command, timed, with the most memory that a process of it took."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
MIB = 2**20
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Cost:
    """Of a command and what it started; the memory is that of its largest process."""

    seconds: float
    cpu_seconds: float
    peak: int
    """Resident memory at its largest, in bytes."""

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s ({self.cpu_seconds:.2f} of CPU), {self.peak / MIB:.0f} MiB"


def measure(argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> Cost:
    """Runs a Python program of this checkout. Raises RuntimeError with what it printed unless it exits with 0."""
    log = cwd / "benchmark.log"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "HOME": str(cwd), **(env or {})}
    with log.open("wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, *argv], cwd=cwd, env=environment, stdout=out, stderr=out)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(log.read_text(encoding="utf-8", errors="replace")[-4000:])
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * _RSS_UNIT)


def median_of(times: int, once: Callable[[], Cost]) -> Cost:
    """The run of the median duration, and the largest memory of all."""
    costs = sorted((once() for _ in range(times)), key=lambda cost: cost.seconds)
    middle = costs[len(costs) // 2]
    cpu = statistics.median(cost.cpu_seconds for cost in costs)
    return Cost(middle.seconds, cpu, max(cost.peak for cost in costs))
