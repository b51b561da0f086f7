"""Starts a grandchild that keeps both pipes open, prints its number, and exits with 3 while it lives on.

`group`: the grandchild stays in the process group. `escaped`: it starts a session of its own.
`waiting`: it stays in the group and the child waits for it, as `accelerate launch` does.
"""

import subprocess
import sys

mode = sys.argv[1]
code = "import time; time.sleep(60)"
grandchild = subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=mode == "escaped")
print(grandchild.pid, flush=True)
if mode == "waiting":
    grandchild.wait()
sys.exit(3)
