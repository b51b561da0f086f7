"""Behaves as the trainer extension does, only faster: events, states, signals. Arguments: LEDGER STATES RESULT FAULT.

It trains 6 steps, after the newest state. Faults: none, wait (goes on until it is stopped), slow-state (the same, but a
state takes longer than anybody waits), loads (waits before it has begun), deaf (ignores signals), torn (dies within a
line), nan, out-of-memory, out-of-memory-while-loading, disk-full, wrong-musubi, error (training-failed with that
reason), silent (exits with 1 and tells nothing), paused (pauses for a moment), noted (waits in the middle until the
ledger has a note), next (waits in the middle until the file is there that UNTIL names in the
environment), next-fails (the same, and exits with 1 then).

Started before its turn it waits for it as the trainer extension does, and writes its number into the file that WAITING
names; with WAITS_BADLY in the environment it closes its standard input instead. STEP is the id of its step.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from patience import wait_for_file, wait_for_note

if os.environ.pop("WAN22LORA_WAITS", ""):
    print("started before its turn", flush=True)
    if os.environ.get("WAITS_BADLY"):
        os.close(0)
    unready = Path(os.environ["WAITING"] + ".unready")
    unready.write_text(str(os.getpid()))
    unready.rename(os.environ["WAITING"])
    if os.environ.get("WAITS_BADLY"):
        time.sleep(60)
    if os.read(0, 3) != b"go\n":
        sys.exit(0)
TOTAL = 6
ledger, states, result, fault = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
stopped_by: list[int] = []
training = False


def line(event: str, **fields: object) -> bytes:
    return (
        json.dumps({"t": time.time(), "event": event, "id": os.environ.get("STEP", "train-high"), **fields}).encode()
        + b"\n"
    )


def emit(event: str, **fields: object) -> None:
    os.write(file, line(event, **fields))


def newest() -> Path | None:
    return max(states.glob("step-*"), default=None)


def save(step: int) -> None:
    if fault == "slow-state":
        time.sleep(60)
    folder = states / f"step-{step:08d}"
    if not folder.exists():
        aside = states / "unfinished"
        aside.mkdir(parents=True)
        (aside / "state.pt").write_bytes(b"state")
        (aside / "state.json").write_text(json.dumps({"format": 1, "step": step, "total": TOTAL, "bytes": 5}))
        aside.rename(folder)
        emit("state", path=str(folder), step=step, bytes=5, seconds=0.01)


def stop_here() -> None:
    time.sleep(0.3)  # long enough for the runner to say that it waits
    state = newest()
    step = int(state.name[5:]) if state else 0
    emit("training-stopped", step=step, state=str(state) if state else None, signal=stopped_by[0])
    os._exit(128 + stopped_by[0])


def asked(number: int, _: object) -> None:
    if stopped_by:
        os._exit(128 + number)
    stopped_by.append(number)
    if not training:
        stop_here()


def fail(reason: str, text: str, fix: str = "") -> None:
    emit("training-failed", reason=reason, text=text, fix=fix)
    print(text, file=sys.stderr)
    sys.exit(1)


for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN if fault == "deaf" else asked)
if fault == "wrong-musubi":
    fail(fault, "the trainer was written for another one", "wan22lora setup")
if fault == "out-of-memory-while-loading":
    fail("out-of-memory", "OutOfMemoryError: CUDA out of memory")
emit("weights-loaded", seconds=1.0, ram_peak=2**35, gpu_peak=2**34, gpu_allocated=2**34)
if fault == "loads":
    print("loading", flush=True)
    time.sleep(60)
state = newest()
step = int(state.name[5:]) if state else 0
training = True
emit("training-begun", step=step, total=TOTAL, epoch=1, epochs=1, state=str(state) if state else None)
print("training begins", flush=True)
first = step + 1
while step < TOTAL:
    if step == 3 and fault in ("nan", "out-of-memory", "disk-full", "error"):
        fail(fault, f"what happened is {fault}", "" if fault == "error" else f"against {fault}")
    if step == 3 and fault == "silent":
        sys.exit(1)
    if step == 3 and fault == "torn":
        os.write(file, line("train-step", step=4)[:30])
        os.kill(os.getpid(), signal.SIGKILL)
    if step == 3 and fault == "noted":
        wait_for_note(ledger)
    if step == 3 and fault.startswith("next"):
        wait_for_file(Path(os.environ["UNTIL"]))
        if fault == "next-fails":
            sys.exit(1)
    if step == 3 and fault == "paused":
        emit("paused", text="no room for a state; waiting for room")
        time.sleep(0.2)
        emit("unpaused", what="a state")
    step += 1
    emit(
        "train-step",
        step=step,
        total=TOTAL,
        epoch=1,
        loss=step / 100,
        seconds=None if step == first else 0.01,
        lr=1e-4,
        samples=1,
        gpu_peak=2**34,
        gpu_reserved=2**34,
        losses={"diffusion": step / 100, "preservation": 0.001},
    )
    print(f"steps: 10%|█         | {step}/{TOTAL} [00:01<00:02,  2.94s/it, avr_loss=0.9]", flush=True)
    print(f"WARNING:musubi_tuner.somewhere:careful at {step}", flush=True)
    time.sleep(0.02)
    if step == 2:
        emit("validation", step=2, loss=0.0812, bins=[{"low": 875, "high": 906, "loss": 0.09}], seconds=0.1)
    if step == 4 and fault in ("wait", "deaf", "slow-state"):
        print("waiting", flush=True)
        while not stopped_by:
            time.sleep(0.01)
    if stopped_by:
        save(step)
        stop_here()
    if step == 3:
        save_fault, fault = fault, "none" if fault == "slow-state" else fault
        save(step)
        fault = save_fault
result.parent.mkdir(parents=True, exist_ok=True)
result.write_bytes(b"result")
emit("checkpoint", path=str(result), sha256="0" * 64, step=step, epoch=1)
emit("training-ended", step=step, seconds=1.0)
