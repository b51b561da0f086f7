"""Prints what musubi's training prints, only faster, and writes its files. Arguments: RESULT STEPS FAULT.

Faults: none, error (a traceback and exit 1 in the middle), killed (by SIGKILL in the middle), no-file (exit 0 without
the result), nan (the loss becomes NaN in the middle), hang (sleeps in the middle, ends on SIGINT), stubborn (sleeps and
ignores SIGINT and SIGTERM), save-on-stop (sleeps, and on SIGINT writes its result and exits with 0), noted (waits in
the middle until the ledger that LEDGER names in the environment has a note).
"""

import os
import signal
import sys
import time
from pathlib import Path

from patience import wait_for_note

result, steps, fault = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def bar(step: int, loss: str) -> None:
    percent = 100 * step // steps
    sys.stderr.write(f"\rsteps: {percent:3d}%|███▎      | {step}/{steps} [00:01<00:02,  2.94s/it{loss}]")
    sys.stderr.flush()


def middle() -> None:
    if fault == "error":
        raise RuntimeError("CUDA error: the child was told to fail")
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fault == "noted":
        wait_for_note(Path(os.environ["LEDGER"]))
    if fault in ("hang", "stubborn", "save-on-stop"):
        print("\nhanging", flush=True)
        time.sleep(60)


def train() -> None:
    print("running training / 学習開始", flush=True)
    print(f"  total optimization steps / 学習ステップ数: {steps}", flush=True)
    print("\nepoch 1/1", flush=True)
    bar(0, "")
    for step in range(1, steps + 1):
        time.sleep(0.01)
        loss = "nan" if fault == "nan" and step > steps // 2 else f"0.0{step}"
        bar(step, f", avr_loss={loss}")
        if step == steps // 2:
            middle()
            checkpoint = result.with_name(f"{result.stem}-000001.safetensors")
            print(f"\nsaving checkpoint: {checkpoint}", flush=True)
            checkpoint.write_bytes(b"checkpoint")
    sys.stderr.write("\n")


result.parent.mkdir(parents=True, exist_ok=True)
try:
    train()
except KeyboardInterrupt:
    if fault != "save-on-stop":
        raise
if fault != "no-file":
    print(f"\nsaving checkpoint: {result}", flush=True)
    result.write_bytes(b"result")
    print("INFO:musubi_tuner.training.trainer_base:model saved.", file=sys.stderr, flush=True)
