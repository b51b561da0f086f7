"""How far one training has come, gathered from its events: a part of the fold (run/state.py)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from wan22lora.run.ledger import Event
from wan22lora.run.pace import Pace

_RECENT_LOSSES = 50
"""A single step's loss says more of the timestep that was drawn than of the LoRA."""


@dataclass(frozen=True)
class SavedState:
    """A state that the training can go on from."""

    step: int
    path: str
    at: float
    """Unix seconds."""
    bytes: int | None = None


@dataclass(frozen=True)
class Bin:
    """A part of the expert's timesteps, and the loss there."""

    low: float
    high: float
    loss: float


@dataclass(frozen=True)
class Validation:
    """The loss on the items that are held out."""

    step: int
    loss: float
    bins: tuple[Bin, ...]


@dataclass
class Progress:
    """One training, as its latest process and those that it continues from tell it."""

    step: int = 0
    total: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    begun: bool = False
    """The weights are loaded and the first batch is under way."""
    loss: float | None = None
    lr: float | None = None
    samples: int = 0
    ram_peak: int | None = None
    gpu_peak: int | None = None
    gpu_reserved: int | None = None
    state: SavedState | None = None
    validation: Validation | None = None
    paused: str = ""
    reason: str = ""
    """Of a training that failed, as the trainer names it."""
    pace: Pace = field(default_factory=Pace)
    checkpoints: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    earlier: Progress | None = None
    """Of the process before, until this one has said whether it goes on from its state."""
    _losses: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_LOSSES))
    _preservation: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_LOSSES))

    @property
    def recent_loss(self) -> float | None:
        """The mean of the last 50 steps where the losses are those of single steps; the last where it is no number."""
        if self.loss is None or not math.isfinite(self.loss):
            return self.loss
        return _mean(self._losses) or self.loss

    @property
    def recent_preservation(self) -> float | None:
        return _mean(self._preservation)

    def add(self, event: Event) -> None:
        """Take one event in. Raises KeyError, TypeError or ValueError for a malformed one."""
        handler = _HANDLERS.get(event["event"])
        if handler is not None:
            handler(self, event)

    def _train_step(self, event: Event) -> None:
        loss, total, seconds = _number(event["loss"]), event["total"], _number(event["seconds"])
        self.step, self.total, self.loss = int(event["step"]), None if total is None else int(total), loss
        self.begun, self.paused = True, ""
        self.pace.add(seconds)
        if "lr" not in event:
            return  # musubi's own program shows an average already
        self.lr, self.epoch = _number(event["lr"]), event.get("epoch", self.epoch)
        self.samples += int(event.get("samples", 0))
        self._peaks(event)
        if loss is not None:
            self._losses.append(loss)
        if "losses" in event:
            preserved = _number(event["losses"].get("preservation"))
            if preserved is not None:
                self._preservation.append(preserved)

    def _weights_loaded(self, event: Event) -> None:
        self._peaks(event)

    def _training_begun(self, event: Event) -> None:
        earlier, self.earlier = self.earlier, None
        self.begun = True
        self.step, self.total = int(event["step"]), int(event["total"])
        self.epoch, self.epochs = int(event["epoch"]), int(event["epochs"])
        state = event["state"]
        if state is None:
            return
        if earlier is not None:
            self.checkpoints += earlier.checkpoints
            self.validation, self.samples = earlier.validation, earlier.samples
            self.loss, self.lr = earlier.loss, earlier.lr
            self._losses.extend(earlier._losses)
            self._preservation.extend(earlier._preservation)
        known = earlier.state if earlier is not None and earlier.state and earlier.state.step == self.step else None
        self.state = known or SavedState(self.step, str(state), float(event["t"]))

    def _epoch(self, event: Event) -> None:
        self.epoch, self.epochs = int(event["epoch"]), int(event["of"])

    def _checkpoint(self, event: Event) -> None:
        for path in (str(event[key]) for key in ("path", "ema") if event.get(key)):
            if path in self.checkpoints:
                self.checkpoints.remove(path)
            self.checkpoints.append(path)

    def _state(self, event: Event) -> None:
        size = event.get("bytes")
        self.state = SavedState(
            int(event["step"]), str(event["path"]), float(event["t"]), None if size is None else int(size)
        )
        self.paused = ""

    def _validation(self, event: Event) -> None:
        bins = tuple(Bin(float(each["low"]), float(each["high"]), float(each["loss"])) for each in event["bins"])
        self.validation = Validation(int(event["step"]), float(event["loss"]), bins)

    def _paused(self, event: Event) -> None:
        self.paused = str(event["text"])

    def _unpaused(self, _: Event) -> None:
        self.paused = ""

    def _warning(self, event: Event) -> None:
        self.warnings.append(str(event["text"]))

    def _failed(self, event: Event) -> None:
        self.reason = str(event["reason"])

    def _peaks(self, event: Event) -> None:
        if "ram_peak" in event:
            self.ram_peak = _larger(self.ram_peak, event["ram_peak"])
        if "gpu_peak" in event:
            self.gpu_peak = _larger(self.gpu_peak, event["gpu_peak"])
        if "gpu_reserved" in event:
            self.gpu_reserved = _larger(self.gpu_reserved, event["gpu_reserved"])


_HANDLERS: Mapping[str, Any] = {
    "weights-loaded": Progress._weights_loaded,
    "training-begun": Progress._training_begun,
    "train-step": Progress._train_step,
    "epoch": Progress._epoch,
    "checkpoint": Progress._checkpoint,
    "state": Progress._state,
    "validation": Progress._validation,
    "paused": Progress._paused,
    "unpaused": Progress._unpaused,
    "warning": Progress._warning,
    "training-failed": Progress._failed,
}


def _mean(losses: Sequence[float] | deque[float]) -> float | None:
    finite = [each for each in losses if math.isfinite(each)]
    return fmean(finite) if finite else None


def _number(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]


def _larger(known: int | None, found: object) -> int | None:
    if found == known or not isinstance(found, (int, float)):
        return known
    return max(int(found), known or 0)
