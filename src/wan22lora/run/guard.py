"""Ends a process group when the process that started it vanished without ending it (SIGKILL, out of memory).

Run as a script with its standard input connected to a pipe that only the watched process holds open. It reads
the group's number, and then either `done` or the end of the pipe: then the watched process is dead. The
kernel's own parent-death signal would not do: it reaches the child only, not what `accelerate launch` starts,
and it must be asked for between fork and exec, where Python may run no code once there are threads.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def main() -> int:
    grace_seconds = float(sys.argv[1])
    group = 0
    for line in sys.stdin.buffer:
        if line == b"done\n":
            return 0
        group = int(line)
    if not group:
        return 0
    try:
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline:
            time.sleep(0.05)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass  # nothing of the group is left
    return 0


if __name__ == "__main__":
    sys.exit(main())
