"""The program: options, the training, and what to say when it ends before its end."""

from __future__ import annotations

import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from .events import Events
from .failing import TrainingFailed, TrainingStopped
from .finding import newest_state
from .guard import require_known_musubi
from .options import REFUSED, add_options
from .ranks import Others, end_with_the_first, is_loss_of_another, rank, with_seed
from .stopping import Stop
from .waiting import wait_for_turn

_PATIENCE_MINUTES = 120
"""How long processes wait for the first one, which may be waiting for room on a full disk."""


def main(argv: Sequence[str]) -> int:
    """The exit code: 0 done, 128 + signal after a stop with everything kept, 1 failed (an event says why)."""
    stop = Stop()
    own = ArgumentParser(add_help=False, allow_abbrev=False)
    add_options(own)
    told, _ = own.parse_known_args(argv)  # musubi's own options are known only once musubi is
    wait_for_turn(told.speed)
    events = Events(told.ledger, told.step_id, quiet=rank() > 0)
    others, code = None, 1
    try:
        stop.listen()
        if rank() > 0:
            end_with_the_first()
        elif told.processes > 1:
            argv = with_seed(argv)
            others = Others(told.processes, argv, events)
        code = _train(argv, told, events, stop, others)
    finally:
        stop.ignore()
        if others is not None:
            others.end(at_once=code == 1)
    return code


def _train(argv: Sequence[str], told: Namespace, events: Events, stop: Stop, others: Others | None) -> int:
    try:
        require_known_musubi()
        args = _arguments(argv)
        from .expert import Expert

        Expert(args, events, stop).train(args)
    except TrainingStopped as stopped:
        return _stopped(stopped.signal, told.states, events)
    except TrainingFailed as failure:
        if rank() == 0 or failure.reason == "error":  # what all of them meet is told once
            events.emit(
                "training-failed", step=events.optimizer_step, reason=failure.reason, text=failure.text, fix=failure.fix
            )
        print(f"{failure.text}\n{failure.fix}", file=sys.stderr, flush=True)
        return 1
    except Exception as error:
        if stop.broken_off is not None:  # half an import fails in ways of its own
            return _stopped(stop.broken_off, told.states, events)
        traceback.print_exc()
        if (others is not None and others.told_of_a_loss(error)) or (rank() > 0 and is_loss_of_another(error)):
            return 1
        reason = "out-of-memory" if _is_out_of_memory(error) else "error"
        events.emit(
            "training-failed",
            step=events.optimizer_step,
            reason=reason,
            text=f"{type(error).__name__}: {error}"[:2000],
            fix="",
        )
        return 1
    return 0


def _stopped(signal: int, states: Path, events: Events) -> int:
    found = newest_state(states)
    state, step = (None, 0) if found is None else (found.path, found.facts["step"])
    events.emit("training-stopped", step=step, state=state, signal=signal)
    print(f"stopped; {f'the newest state is {state}' if state else 'there is no state yet'}", flush=True)
    return 128 + signal


def _arguments(argv: Sequence[str]) -> Namespace:
    """As musubi's main reads them (wan_train_network.py:752-768 at v0.3.4), without what the extension replaces."""
    from musubi_tuner.hv_train_network import setup_parser_common
    from musubi_tuner.wan_train_network import wan_setup_parser

    parser: ArgumentParser = wan_setup_parser(setup_parser_common())
    add_options(parser)
    args = parser.parse_args(argv)
    for name, reason in REFUSED.items():
        if getattr(args, name):
            parser.error(f"--{name}: {reason}")
    if args.processes > 1 and args.sample_prompts:
        parser.error("--sample_prompts: several processes cannot be stopped while they draw")
    if args.processes > 1 and (args.save_state or args.save_state_on_train_end):
        parser.error("--save_state: the training's own states hold what its processes need")
    if args.processes > 1:
        args.ddp_timeout = args.ddp_timeout or _PATIENCE_MINUTES
        # A worker that is forked off beside the threads of the exchange may hang: one in twenty did, over gloo.
        args.max_data_loader_n_workers, args.persistent_data_loader_workers = 0, False
    args.dit_dtype = None  # found in the weights
    args.vae_dtype = args.vae_dtype or "bfloat16"
    return args


def _is_out_of_memory(error: Exception) -> bool:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)  # an import that failed may have left half of torch
    said = str(error)  # cuBLAS and cuDNN have errors of their own for it
    return isinstance(error, getattr(cuda, "OutOfMemoryError", ())) or any(
        sign in said.lower() for sign in ("out of memory", "status_alloc_failed")
    )
