"""How long the command line takes to answer: median seconds of `wan22lora --help`, warm.

    python benchmarks/cli_start.py [RUNS]

Exits with 1 when the median is 0.3 s or more.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LIMIT_SECONDS = 0.3


def seconds_of_help() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "wan22lora", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    seconds_of_help()
    times = [seconds_of_help() for _ in range(runs)]
    median = statistics.median(times)
    print(f"wan22lora --help: median {median:.3f} s of {runs} runs (from {min(times):.3f} to {max(times):.3f} s)")
    return 0 if median < LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
