"""Stand-in for `accelerate launch`: checks its options and runs the program as a child, as accelerate 1.6.0 does.

Two processes, because accelerate's habits matter to whoever starts it: a SIGTERM ends the launcher and leaves the
trainer running (launch.py:788-797), and whatever ended the trainer becomes exit code 1 and a CalledProcessError.
One exception: options that the program refuses end with 2 here, as they do without the launcher.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_DYNAMO = ("no", "eager", "aot_eager", "inductor")
_PRECISIONS = ("no", "fp16", "bf16", "fp8")


def launch(python: str, argv: Sequence[str]) -> int:
    """`argv` follows `-m accelerate.commands.launch`. Raises CalledProcessError as accelerate does."""
    options = _parser().parse_args(argv)
    if options.config_file is not None and not Path(options.config_file).is_file():
        raise FileNotFoundError(
            f"The passed configuration file `{options.config_file}` does not exist. Please pass an existing file to"
            " `accelerate launch`, or use the default one created through `accelerate config` and run"
            " `accelerate launch` without the `--config_file` argument."
        )
    program = [python, options.training_script, *options.training_script_args]
    environment = os.environ | {"ACCELERATE_MIXED_PRECISION": options.mixed_precision or "no"}
    child = subprocess.Popen([sys.executable, "-m", "wan22lora.rehearsal", *program], env=environment)
    child.wait()
    if child.returncode not in (0, 2):
        raise subprocess.CalledProcessError(child.returncode, program)
    return child.returncode


def _parser() -> argparse.ArgumentParser:
    """The options that concern one process on one machine; accelerate knows some seventy more."""
    parser = argparse.ArgumentParser("Accelerate launch command", allow_abbrev=False)
    parser.add_argument("--config_file")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("--mixed_precision", choices=_PRECISIONS)
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--num_machines", type=int)
    parser.add_argument("--num_cpu_threads_per_process", type=int)
    parser.add_argument("--dynamo_backend", choices=_DYNAMO)
    parser.add_argument("--gpu_ids")
    parser.add_argument("--main_process_port", type=int)
    parser.add_argument("training_script")
    parser.add_argument("training_script_args", nargs=argparse.REMAINDER)
    return parser
