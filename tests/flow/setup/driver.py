"""`wan22lora` with another commit for the pin, another GPU or small weights; nothing else is changed."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys

from wan22lora.cli.app import run
from wan22lora.machine.nvidia import Gpu, Nvidia
from wan22lora.models import catalogue
from wan22lora.musubi.pins import Pin
from wan22lora.setup import job

if "TEST_PIN" in os.environ:
    name = "article" if "--article" in sys.argv else "v0.3.4"
    pin = Pin(name, os.environ["TEST_PIN"], "a repository laid out like musubi-tuner")
    job.Job = functools.partial(job.Job, pin=pin)  # type: ignore[assignment, misc]
if "TEST_GPU" in os.environ:
    major, minor = map(int, os.environ["TEST_GPU"].split("."))
    gpu = Gpu(0, "GPU-1", "Test GPU", 80 << 30, 80 << 30, (9, 0))
    vars(job)["read_nvidia"] = lambda: Nvidia("570.00", (major, minor), (gpu,))
else:
    vars(job)["read_nvidia"] = lambda: Nvidia(trouble="no driver")
if "TEST_SIZES" in os.environ:
    sizes = json.loads(os.environ["TEST_SIZES"])
    small = (dataclasses.replace(file, size=sizes[file.path], sha256=None) for file in catalogue.CATALOGUE)
    catalogue.CATALOGUE = tuple(small)
sys.exit(run(sys.argv[1:]))
