"""Carries out the plan that is pickled in the file of its argument, on a machine with all the RAM that one may wish."""

import pickle
import sys
from pathlib import Path
from unittest.mock import patch

from wan22lora.machine.ram import Ram
from wan22lora.run.folder import RunFolder
from wan22lora.run.runner import execute
from wan22lora.run.view import display_for

patch("wan22lora.run.waiting.read_ram", lambda: Ram(1 << 40, 1 << 39)).start()
plan = pickle.loads(Path(sys.argv[1]).read_bytes())
execute(
    plan,
    RunFolder(plan.folder),
    display=display_for(plan.folder),
    verify=lambda step: (),
    again="again",
    grace_seconds=10.0,
)
