"""The events and lines of a training with the extension."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wan22lora.rehearsal import memory
from wan22lora.rehearsal.schedule import learning_rate
from wan22lora.trainer.events import Events
from wan22lora.trainer.position import Position

_LINE_EVERY_SECONDS = 10.0


class Report:
    """Tells the ledger, and the log now and then."""

    def __init__(self, args: Namespace, events: Events, dit_dtype: str) -> None:
        self._args, self._events = args, events
        self._memory = memory.training(args, dit_dtype)
        self.gpu_peak = self._memory["gpu_peak"]
        self._first = True
        self._line_at = 0.0

    def begun(self, at: Position, total: int, epochs: int, continued: Path | None) -> None:
        self._events.emit(
            "training-begun", step=at.step, total=total, epoch=at.epoch + 1, epochs=epochs, state=continued
        )
        begins = "begins" if continued is None else f"continues after step {at.step} of {continued}"
        print(f"training {begins}; {total} steps, {epochs} epochs", flush=True)

    def step(
        self, at: Position, losses: Sequence[float], preservation: Sequence[float], samples: int, seconds: float
    ) -> None:
        """One optimizer step; `losses` has one number for each of its batches."""
        total, loss, now = self._args.max_train_steps, sum(losses) / len(losses), time.monotonic()
        fields: dict[str, Any] = {
            "step": at.step,
            "total": total,
            "epoch": at.epoch + 1,
            "loss": loss,
            "seconds": None if self._first else round(seconds, 6),
            "lr": learning_rate(self._args, at.step - 1),
            "samples": samples,
        }
        if preservation:
            fields["losses"] = {"diffusion": loss, "preservation": sum(preservation) / len(preservation)}
        self._first = False
        self._events.emit("train-step", **fields, **self._memory)
        if now - self._line_at >= _LINE_EVERY_SECONDS or at.step == total:
            self._line_at = now
            print(f"step {at.step}/{total}, loss {loss:.4g}", flush=True)

    def epoch(self, epoch: int, epochs: int, step: int) -> None:
        self._events.emit("epoch", epoch=epoch, of=epochs, step=step)

    def samples(self, step: int) -> None:
        """None are drawn in a rehearsal."""
        self._events.emit("samples", step=step, paths=[])

    def validation(self, step: int, loss: float, bins: Sequence[dict[str, Any]]) -> None:
        self._events.emit("validation", step=step, loss=loss, bins=bins, seconds=0.0)
        print(f"validation after step {step}: loss {loss:.4g}", flush=True)

    def state(self, path: Path, step: int, size: int, seconds: float) -> None:
        self._events.emit("state", path=path, step=step, bytes=size, seconds=round(seconds, 3))
        print(f"state saved after step {step}: {path}", flush=True)

    def warning(self, text: str) -> None:
        self._events.emit("warning", text=text)
        print(text, flush=True)

    def ended(self, step: int, seconds: float) -> None:
        self._events.emit("training-ended", step=step, seconds=round(seconds, 3))
