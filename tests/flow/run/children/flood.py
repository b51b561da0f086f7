"""Writes 10 MB to each of its output streams, alternately, in numbered lines."""

import sys

LINES = 100_000
for number in range(LINES):
    line = f"{number:07d} {'x' * 91}\n"
    sys.stdout.write(line)
    sys.stderr.write(line)
