"""What a state holds, and how a process goes on from it as if it were the one that wrote it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from . import randomness
from .ema import Average
from .events import Events
from .failing import TrainingFailed
from .parts import Parts
from .position import Position
from .states import States
from .together import Together


@dataclass(frozen=True)
class Snapshot:
    """A moment between two optimizer steps: what a state needs beside weights and optimizer."""

    at: Position
    random: dict[str, Any]
    epoch_random: torch.Tensor
    """torch's random state when the current epoch began; the order of its batches is drawn from it."""
    timestep_pool: list[Any]
    """Timestep buckets that musubi has not used yet (`--num_timestep_buckets`, trainer_base.py:489-496)."""

    shuffled: list[int]
    """For each dataset the epoch for which this process shuffled it last (0 where data-loader workers do it).

    A dataset is shuffled when an epoch first meets it, and that seeds Python's generator anew
    (dataset/image_video_dataset.py:199-211 and 563-566): those that were met already must not be met once more.
    """

    order: dict[str, torch.Tensor] | None = None
    """With several processes, which must agree on it: the states of what the order of an epoch is drawn from, when the
    current one `began` and `now`."""

    @staticmethod
    def take(
        at: Position,
        epoch_random: torch.Tensor,
        trainer: Any,
        parts: Parts,
        order: dict[str, torch.Tensor] | None = None,
    ) -> Snapshot:
        shuffled = [dataset.current_epoch for dataset in parts.train_dataset_group.datasets]
        return Snapshot(at, randomness.capture(), epoch_random, list(trainer.timestep_range_pool), shuffled, order)

    @property
    def of_this_process(self) -> dict[str, Any]:
        """What each process of a training has its own of."""
        names = ("random", "epoch_random", "timestep_pool", "shuffled", *(("order",) if self.order is not None else ()))
        return {name: getattr(self, name) for name in names}


class Continuing:
    """Saves snapshots as states and finds the newest one again."""

    def __init__(
        self, parts: Parts, average: Average | None, states: States, events: Events, together: Together
    ) -> None:
        self._parts, self._average, self._states, self._events = parts, average, states, events
        self._together = together
        self._saved_step: int | None = None
        self._path = ""
        self._saved_at = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether a state is wanted after this step."""
        every_steps, every_minutes = self._parts.args.states_every_steps, self._parts.args.states_every_minutes
        if every_steps and step % every_steps == 0:
            return True
        return bool(every_minutes) and time.monotonic() - self._saved_at >= 60 * every_minutes

    def save(self, snapshot: Snapshot) -> str:
        """Saves a state, if this step has none yet; its path. Gradients that have gathered since are not in it."""
        parts, step = self._parts, snapshot.at.step
        if step == self._saved_step:
            return self._path
        began = time.monotonic()
        first, *others = self._together.gather(snapshot.of_this_process)
        self._saved_step, self._saved_at = step, began
        if not self._together.first:
            return ""
        found = self._states.save(
            {
                "network": parts.lora.state_dict(),
                "optimizer": parts.optimizer.state_dict(),
                "scheduler": _state_dict(parts.lr_scheduler),
                "scaler": _state_dict(parts.accelerator.scaler),
                "average": _state_dict(self._average),
                "position": asdict(snapshot.at),
                **first,
                **({"others": others} if others else {}),
            },
            {
                "step": step,
                "total": parts.args.max_train_steps,
                "epoch": snapshot.at.epoch + 1,
                "batch": snapshot.at.batch,
                "seed": parts.args.seed,
                "session_id": parts.session_id,
                "started_at": parts.training_started_at,
                "torch": torch.__version__,
                **({"processes": self._together.count} if others else {}),
            },
        )
        self._saved_step, self._saved_at, self._path = step, time.monotonic(), str(found.path)
        seconds = round(self._saved_at - began, 3)
        self._events.emit("state", path=found.path, step=step, bytes=found.facts["bytes"], seconds=seconds)
        print(f"state saved after step {step}: {found.path}", flush=True)
        return self._path

    def restore(self, trainer: Any) -> Snapshot | None:
        """Puts weights, optimizer and schedule back; None where there is no state.

        The random states are left to the caller: loading the first batch of an epoch changes them.
        """
        self._states.clear_unfinished()
        found = self._states.newest()
        if found is None:
            return None
        processes = found.facts.get("processes", 1)
        if processes != self._together.count:
            raise TrainingFailed(
                "error",
                f"the state {found.path} is of a training by {processes} processes, and {self._together.count} train",
                f"continue it with {processes}, or begin anew with --restart",
            )
        content, parts = self._states.load(found), self._parts
        own = content if self._together.first else content["others"][self._together.index - 1]
        parts.lora.load_state_dict(content["network"])
        parts.optimizer.load_state_dict(content["optimizer"])
        holders = {"scheduler": parts.lr_scheduler, "scaler": parts.accelerator.scaler, "average": self._average}
        for name, holder in holders.items():
            if holder is not None and content[name] is not None:
                holder.load_state_dict(content[name])
        trainer.timestep_range_pool = list(own["timestep_pool"])
        for dataset, epoch in zip(parts.train_dataset_group.datasets, own["shuffled"], strict=True):
            while dataset.current_epoch < epoch:
                dataset.current_epoch += 1
                dataset.shuffle_buckets()
        names = ("random", "epoch_random", "timestep_pool", "shuffled")
        at, order = Position(**content["position"]), own.get("order")
        snapshot = Snapshot(at, **{name: own[name] for name in names}, order=order)
        # accelerate counts an accumulation's batches from the start of the epoch (accelerator.py:1107-1114 in 1.6.0).
        parts.accelerator.step = snapshot.at.batch % len(parts.train_dataloader)
        self._saved_step, self._path = snapshot.at.step, str(found.path)
        return snapshot

    @property
    def newest(self) -> str | None:
        """The path of the state that the next start would continue from."""
        return None if self._saved_step is None else self._path


def _state_dict(holder: Any) -> Any:
    """musubi's stand-in for the scheduler of a schedule-free optimizer has none."""
    return holder.state_dict() if hasattr(holder, "state_dict") else None
