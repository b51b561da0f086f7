"""Carries out a plan of one training, as the command line would. Arguments: RUN FOLDER, then what trainer.py takes."""

import sys
from pathlib import Path

from wan22lora.errors import Failure
from wan22lora.plan.model import Plan, Step
from wan22lora.run.folder import RunFolder
from wan22lora.run.runner import execute
from wan22lora.run.view import display_for

folder, *arguments = sys.argv[1:]
trainer = (sys.executable, "-S", str(Path(__file__).with_name("trainer.py")), *arguments)
step = Step("train", trainer, Path("/"), {"PYTHONIOENCODING": "utf-8"}, key={"a": "b"}, predicted_steps=6)
plan = Plan("demo", Path(folder), (), (step,))
try:
    execute(plan, RunFolder(plan.folder), display=display_for(plan.folder), verify=lambda step: (), again="driver")
except Failure as failure:
    print(failure)
    sys.exit(failure.exit_code)
