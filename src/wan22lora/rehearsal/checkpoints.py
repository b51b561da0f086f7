"""Files that the trainer saves and removes: names, order and arithmetic of musubi-tuner.

Source: utils/train_utils.py:18-183 and TB:1937-1987, 2080-2177 (training/trainer_base.py) at v0.3.4.
"""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from wan22lora.musubi.names import epoch_file, epoch_state, final_file, final_state, step_file, step_state
from wan22lora.rehearsal.metadata import saved_metadata
from wan22lora.rehearsal.session import MARK, Session
from wan22lora.rehearsal.tensors import write_tiny

_MODULES = ("blocks_0_self_attn_q", "blocks_0_cross_attn_k", "blocks_0_ffn_0", "blocks_39_self_attn_o")
_STATE_FILES = {
    "Optimizer": "optimizer.bin",
    "Scheduler": "scheduler.bin",
    "Gradient scaler": "scaler.pt",
    "Random": "random_states_0.pkl",
}
_WIDTH = 4
_DEFAULT_RANK = 4


class Checkpoints:
    """`--output_dir` and `--output_name` are first used when something is saved, so their absence shows that late."""

    def __init__(self, args: Namespace, session: Session, metadata: Mapping[str, str], dtype: str) -> None:
        self._args = args
        self._session = session
        self._metadata = metadata
        self._dtype = dtype
        self._saved = 0

    def after_step(self, step: int, epoch: int) -> None:
        """`epoch` counts from 0 here, and from 1 in `after_epoch`: so the metadata get it from musubi."""
        args, every, name = self._args, self._args.save_every_n_steps, self._args.output_name
        if every is None or step % every != 0:
            return
        self._save(step_file(name, step), step, epoch)
        if args.save_state:
            self._save_state(step_state(name, step), f"saving state at step {step}")
            kept = args.save_last_n_steps_state or args.save_last_n_steps
            old = 0 if kept is None else _step_to_remove(step, kept, every)
            if old > 0:
                self._remove_state(step_state(name, old))
        if args.save_last_n_steps is not None:
            self._remove(step_file(name, _step_to_remove(step, args.save_last_n_steps, every)))

    def after_epoch(self, epoch: int, epochs: int, step: int) -> None:
        """The last epoch is saved under the final name only."""
        args, every, name = self._args, self._args.save_every_n_epochs, self._args.output_name
        if every is None or epoch % every != 0 or epoch >= epochs:
            return
        self._save(epoch_file(name, epoch), step, epoch)
        if args.save_last_n_epochs is not None:
            self._remove(epoch_file(name, epoch - every * args.save_last_n_epochs))
        if args.save_state:
            self._save_state(epoch_state(name, epoch), f"saving state at epoch {epoch}")
            kept = args.save_last_n_epochs_state or args.save_last_n_epochs
            if kept is not None:
                self._remove_state(epoch_state(name, epoch - every * kept))

    def at_end(self, step: int, epochs: int) -> None:
        name = self._args.output_name
        if self._args.save_state or self._args.save_state_on_train_end:
            self._save_state(final_state(name), "saving last state.")
        self._save(final_file(name), step, epochs, final=True)

    @property
    def _folder(self) -> Path:
        """Raises TypeError without `--output_dir`."""
        folder = Path(os.fspath(self._args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _save(self, name: str, step: int, epoch: int, *, final: bool = False) -> None:
        path = self._folder / name
        self._session.console.print(f"\nsaving checkpoint: {path}")
        self._saved += 1
        write_tiny(path, lora_shapes(self._args), self._dtype, saved_metadata(self._args, self._metadata, step, epoch))
        self._session.faults.after_checkpoint(path, self._saved, final=final)

    def _remove(self, name: str) -> None:
        path = self._folder / name
        if path.exists():
            self._session.console.print(f"removing old checkpoint: {path}")
            path.unlink()

    def _save_state(self, name: str, message: str) -> None:
        """The random states come last, so a state without them is half a state."""
        console, args = self._session.console, self._args
        console.info("states", "")
        console.info("states", message)
        state = self._folder / name
        console.info("accelerator", f"Saving current state to {state}")
        state.mkdir(exist_ok=True)
        write_tiny(state / "model.safetensors", lora_shapes(args), "float32", {"format": "pt"})
        console.info("saved", f"Model weights saved in {state / 'model.safetensors'}")
        for part, file in _STATE_FILES.items():
            absent = {"Scheduler": args.optimizer_type.lower().endswith("schedulefree")}
            absent["Gradient scaler"] = args.mixed_precision != "fp16"
            if not absent.get(part, False):
                (state / file).write_text(f"{MARK}\n", encoding="utf-8")
                console.info("saved", f"{part} state{'s' if part == 'Random' else ''} saved in {state / file}")

    def _remove_state(self, name: str) -> None:
        state = self._folder / name
        if state.exists():
            self._session.console.info("states", f"removing old state: {state}")
            shutil.rmtree(state)


def _step_to_remove(step: int, kept: int, every: int) -> int:
    """Exactly one number, in steps: with every 10 and kept 30, step 50 removes step 10 (train_utils.py:106-116)."""
    old = step - kept - 1
    return old - old % every


def lora_shapes(args: Namespace) -> dict[str, tuple[int, ...]]:
    rank = args.network_dim or _DEFAULT_RANK
    shapes: dict[str, tuple[int, ...]] = {}
    for module in _MODULES:
        shapes[f"lora_unet_{module}.alpha"] = ()
        shapes[f"lora_unet_{module}.lora_down.weight"] = (rank, _WIDTH)
        shapes[f"lora_unet_{module}.lora_up.weight"] = (_WIDTH, rank)
    return shapes
