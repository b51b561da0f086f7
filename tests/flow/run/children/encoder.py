"""Writes the files named on its command line one after the other; with HALF set, fails with half of one written, with
UNTIL set, waits for that file before it ends."""

import os
import sys
from pathlib import Path

from patience import wait_for_file

for number, name in enumerate(sys.argv[1:]):
    print(f"\r{number}it [00:00,  2.84s/it]", end="", file=sys.stderr, flush=True)
    if os.environ.get("HALF") and number == len(sys.argv[1:]) // 2:
        Path(name).write_bytes(b"wh")
        sys.exit("out of memory")
    Path(name).write_bytes(b"whole")
if os.environ.get("UNTIL"):
    wait_for_file(Path(os.environ["UNTIL"]))
