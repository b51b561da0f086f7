"""The events and lines of a training's steps."""

from __future__ import annotations

import time
from typing import Any

import torch

from .events import Events
from .parts import Parts

LINE_EVERY_SECONDS = 10.0


class Reporting:
    """Tells each optimizer step to the ledger, to musubi's trackers, and now and then to the log."""

    def __init__(self, parts: Parts, events: Events) -> None:
        self._parts, self._events = parts, events
        self._line_at = 0.0
        self._began: float | None = None
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def start_clock(self) -> None:
        """The next step begins now; what lies between two steps (saving, sampling) belongs to neither."""
        self._began = time.monotonic()

    def step(
        self,
        step: int,
        epoch: int,
        *,
        losses: list[float],
        preservation: list[float],
        lr: float,
        samples: int,
        skipped: bool,
    ) -> None:
        """`losses` has one number for each batch of the step, `preservation` one for each that preserved.

        `skipped`: nothing was learned in this step, because a loss or a gradient was no finite number.
        """
        now, total = time.monotonic(), self._parts.args.max_train_steps
        loss = sum(losses) / len(losses)
        fields: dict[str, Any] = {
            "step": step,
            "total": total,
            "epoch": epoch,
            "loss": loss,
            "seconds": None if self._began is None else round(now - self._began, 6),
            "lr": lr,
            "samples": samples,
        }
        if skipped:
            fields["skipped"] = True
        if preservation:
            kept = sum(preservation) / len(preservation)
            fields["losses"] = {"diffusion": loss, "preservation": kept}
        if torch.cuda.is_available():
            fields["gpu_peak"] = torch.cuda.max_memory_allocated()
            fields["gpu_reserved"] = torch.cuda.max_memory_reserved()
        self._events.emit("train-step", **fields)
        self._to_trackers(step, fields)
        if now - self._line_at >= LINE_EVERY_SECONDS or step == total:
            self._line_at = now
            print(f"step {step}/{total}, loss {loss:.4g}", flush=True)

    def _to_trackers(self, step: int, fields: dict[str, Any]) -> None:
        accelerator, parts = self._parts.accelerator, self._parts
        if not accelerator.trackers:
            return
        loss = fields["loss"]
        logs = {"loss/current": loss, "lr/unet": fields["lr"]}
        logs |= {f"loss/{name}": value for name, value in fields.get("losses", {}).items()}
        descriptions = parts.lr_descriptions or []
        if len(descriptions) > 1:
            rates = parts.lr_scheduler.get_last_lr()
            logs |= {f"lr/{name}": rate for name, rate in zip(descriptions, rates, strict=False)}
        accelerator.log(logs, step=step)
