"""The lock between processes: one at a time, and free again when its holder is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wan22lora.errors import RunFolderError
from wan22lora.run.folder import RunFolder

HOLDER = """
import sys, time
from pathlib import Path
from wan22lora.run.folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(RunFolderError, match=f"process {holder.pid} on "), folder.lock():
            pytest.fail("two have the lock")
        holder.kill()
    with folder.lock():
        pass
