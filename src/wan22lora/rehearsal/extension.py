"""Stand-in for the trainer extension (trainer/program.py): its exit codes, its events, and nothing is trained."""

from __future__ import annotations

import sys
import time
import traceback
from argparse import Namespace

from wan22lora.rehearsal import memory
from wan22lora.rehearsal.extension_checkpoints import ExtensionCheckpoints
from wan22lora.rehearsal.extension_loop import ExtensionLoop
from wan22lora.rehearsal.extension_report import Report
from wan22lora.rehearsal.extras import HeldOut, Preservation
from wan22lora.rehearsal.learned import Learned, nothing
from wan22lora.rehearsal.metadata import training_metadata
from wan22lora.rehearsal.session import Session
from wan22lora.rehearsal.states import State, States, step_of
from wan22lora.rehearsal.train import prepare, save_dtype
from wan22lora.rehearsal.training_items import Batch
from wan22lora.trainer.disk import Disk
from wan22lora.trainer.events import Events
from wan22lora.trainer.failing import TrainingFailed, TrainingStopped
from wan22lora.trainer.position import Position
from wan22lora.trainer.stopping import Stop

_SESSION = ("ss_session_id", "ss_training_started_at")


def train_with_extension(args: Namespace, session: Session) -> None:
    """Raises SystemExit unless the training comes to its end."""
    stop = Stop()
    stop.listen()
    session.faults.on_launch()  # a signal that is ignored on request stays so
    events = Events(args.ledger, args.step_id)
    disk = Disk(events, stop, session.faults.disk_patience(args.disk_patience))
    states = States(args.states, args.states_keep_last, disk, session.faults)
    try:
        _train(args, session, events, stop, states, disk)
    except TrainingStopped as stopped:
        state = states.newest()
        step = 0 if state is None else step_of(state)
        events.emit("training-stopped", step=step, state=state, signal=stopped.signal)
        print(f"stopped; {f'the newest state is {state}' if state else 'there is no state yet'}", flush=True)
        raise SystemExit(128 + stopped.signal) from None
    except TrainingFailed as failure:
        events.emit(
            "training-failed", step=events.optimizer_step, reason=failure.reason, text=failure.text, fix=failure.fix
        )
        print(f"{failure.text}\n{failure.fix}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    except Exception as error:
        traceback.print_exc()
        reason = "out-of-memory" if "out of memory" in str(error).lower() else "error"
        events.emit(
            "training-failed",
            step=events.optimizer_step,
            reason=reason,
            text=f"{type(error).__name__}: {error}"[:2000],
            fix="",
        )
        raise SystemExit(1) from None


def _train(args: Namespace, session: Session, events: Events, stop: Stop, states: States, disk: Disk) -> None:
    if session.pin == "article":
        raise TrainingFailed("wrong-musubi", "the trainer was written for musubi-tuner v0.3.4", "trainer: plain")
    if args.speed != "reference" and session.faults.has("no-compiler"):
        text = "the trainer compiles its kernels, and there is no C compiler"
        raise TrainingFailed("not-fast", text, "sudo apt-get install -y gcc")
    found = states.newest()
    state = None if found is None else states.load(found)
    if state is not None and args.seed is None:
        args.seed = state.seed
    began = time.monotonic()

    def loaded(dit_dtype: str) -> None:
        seconds = round(time.monotonic() - began, 3)
        events.emit("weights-loaded", seconds=seconds, **memory.loading(args, dit_dtype))

    held_out = HeldOut(args)

    def check(batches: list[Batch]) -> None:
        held_out.check(batches)
        if args.preservation_weight:
            Preservation(args).check(batches)

    prepared = prepare(args, session, keeps=held_out.keeps, on_batches=check, on_loaded=loaded)
    assert prepared is not None, "the parser refuses --show_timesteps"
    states.clear_unfinished()
    metadata = training_metadata(args, prepared.datasets, prepared.size, prepared.optimizer, session.pin)
    if state is None:
        state = State(Position(), nothing(args.seed), args.seed, {name: metadata[name] for name in _SESSION})
    dtype, weights = save_dtype(args, prepared.dit_dtype, session), Learned(state.learned)
    checkpoints = ExtensionCheckpoints(
        args, session, {**metadata, **state.session}, dtype, weights=weights, events=events, disk=disk
    )
    report = Report(args, events, prepared.dit_dtype)
    loop = ExtensionLoop(prepared, state, checkpoints=checkpoints, states=states, report=report, stop=stop)
    loop.run(found)
    session.console.rehearsal("ended well. Nothing was trained: the files hold no LoRA.")
