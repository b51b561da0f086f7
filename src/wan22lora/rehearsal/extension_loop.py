"""The extension's loop (trainer/loop.py), with a nap for every step: it tells events, keeps states and continues."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wan22lora.rehearsal.extension_checkpoints import ExtensionCheckpoints
from wan22lora.rehearsal.extension_report import Report
from wan22lora.rehearsal.extras import Preservation, Validation
from wan22lora.rehearsal.loss import LossCurve
from wan22lora.rehearsal.prepared import Prepared
from wan22lora.rehearsal.states import State, States
from wan22lora.rehearsal.training_items import Batch, load_batch
from wan22lora.trainer.failing import TrainingFailed
from wan22lora.trainer.stopping import Stop


class ExtensionLoop:
    """Trains from where the newest state was taken to the end."""

    def __init__(
        self,
        prepared: Prepared,
        start: State,
        *,
        checkpoints: ExtensionCheckpoints,
        states: States,
        report: Report,
        stop: Stop,
    ) -> None:
        self._prepared, self._args, self._session = prepared, prepared.args, prepared.session
        self._checkpoints, self._states, self._report, self._stop = checkpoints, states, report, stop
        self._losses = LossCurve(self._args)
        self._preservation = Preservation(self._args) if self._args.preservation_weight else None
        self._validation = Validation(self._args, self._losses) if self._args.held_out else None
        self._at = start.at
        self._snapshot = start
        self._saved_step: int | None = None
        self._saved_at = time.monotonic()
        self._gathered: list[tuple[int, Batch]] = []
        self._loaded: set[int] = set()
        self._nan_steps = 0

    def run(self, continued: Path | None) -> None:
        """Raises TrainingStopped after a signal, with a state saved, and TrainingFailed."""
        if continued is not None:
            self._saved_step = self._at.step
        total, epochs, began = self._args.max_train_steps, self._prepared.size.epochs, time.monotonic()
        self._report.begun(self._at, total, epochs, continued)
        self._stop.finish_batches()
        while self._at.step < total or self._at.batch:
            self._run_epoch()
        self._save_state()
        self._checkpoints.at_end(self._at.step, epochs)
        self._report.ended(self._at.step, time.monotonic() - began)

    def _run_epoch(self) -> None:
        batches = self._prepared.batches
        # Not at an epoch's end: the last state of a training that ends within an epoch can then be trained further.
        if self._at.batch == 0:
            self._take_snapshot()
        self._prepared.announce_epoch(self._at.epoch + 1)
        while self._at.batch < len(batches) and self._at.step < self._args.max_train_steps:
            self._train_on(batches[self._at.batch])
            if self._stop.wanted:
                self._save_state()
                self._stop.raise_if_wanted()
        epoch, epochs = self._at.epoch + 1, self._prepared.size.epochs
        self._report.epoch(epoch, epochs, self._at.step)
        self._checkpoints.after_epoch(epoch, epochs, self._at.step)
        self._sample(epoch=epoch)
        self._at = replace(self._at, epoch=epoch, batch=0)

    def _train_on(self, batch: Batch) -> None:
        index = self._at.batch
        if not self._loaded:
            self._session.faults.on_first_forward()
        if index not in self._loaded:
            load_batch(batch, self._prepared.needed, self._prepared.workers)
            self._loaded.add(index)
        self._gathered.append((self._at.batches, batch))
        self._at = replace(self._at, batch=index + 1, batches=self._at.batches + 1)
        last = self._at.batch == len(self._prepared.batches)
        # What has gathered at the end of an epoch makes a step of its own.
        if self._at.batch % self._args.gradient_accumulation_steps == 0 or last:
            self._update()

    def _update(self) -> None:
        step, began, gathered = self._at.step + 1, time.monotonic(), self._gathered
        self._gathered = []
        self._session.faults.on_step(step)
        self._session.faults.on_full_gpu(step, self._report.gpu_peak)
        time.sleep(self._session.step_seconds)
        progress = self._at.step / self._args.max_train_steps
        numbers = [number for number, _ in gathered]
        losses = [self._session.faults.loss(step, self._losses.at(progress, number)) for number in numbers]
        kept = self._kept(numbers, progress)
        finite = all(map(math.isfinite, losses))
        self._nan_steps = 0 if finite else self._nan_steps + 1
        if finite:
            self._checkpoints.weights.learn(gathered)
        self._at = replace(self._at, step=step)
        samples = sum(len(batch) for _, batch in gathered)
        self._report.step(self._at, losses, kept, samples, time.monotonic() - began)
        self._after_update(step)

    def _kept(self, numbers: Sequence[int], progress: float) -> list[float]:
        preservation = self._preservation
        if preservation is None:
            return []
        return [preservation.loss(number, progress) for number in numbers if preservation.due(number)]

    def _after_update(self, step: int) -> None:
        if self._nan_steps:
            self._warn_of_nan(step)
        self._take_snapshot()
        self._sample(step=step)
        self._checkpoints.after_step(step, self._at.epoch)
        if self._validation is not None and self._validation.due(step):
            self._report.validation(step, *self._validation.run(step / self._args.max_train_steps))
        if self._state_due(step):
            self._save_state()

    def _warn_of_nan(self, step: int) -> None:
        most: int = self._args.max_nan_steps
        self._report.warning(f"the loss of step {step} is no finite number; its update was left out")
        if self._nan_steps >= most:
            raise TrainingFailed(
                "nan",
                f"{most} steps in a row without a finite loss, the last of them step {step}; the LoRA is as it was"
                f" after step {step - most}",
                "a lower learning_rate or max_grad_norm: 1 usually helps; NaN from the first step on comes from a"
                " damaged cache, the wrong VAE or weights of another format than mixed_precision says",
            )

    def _sample(self, *, step: int | None = None, epoch: int | None = None) -> None:
        if self._prepared.samples_due(step=step, epoch=epoch):
            message = f"generating sample images at step / サンプル画像生成 ステップ: {self._at.step}"
            self._session.console.info("trainer", message)
            self._report.samples(self._at.step)

    def _state_due(self, step: int) -> bool:
        every_steps, every_minutes = self._args.states_every_steps, self._args.states_every_minutes
        if every_steps and step % every_steps == 0:
            return True
        return bool(every_minutes) and time.monotonic() - self._saved_at >= 60 * every_minutes

    def _take_snapshot(self) -> None:
        self._snapshot = replace(self._snapshot, at=self._at, learned=self._checkpoints.weights.digest)

    def _save_state(self) -> None:
        """The state after the last whole step; batches that have gathered since are trained again."""
        step = self._snapshot.at.step
        if step == self._saved_step:
            return
        began = time.monotonic()
        path, size = self._states.save(self._snapshot, total=self._args.max_train_steps)
        self._saved_step, self._saved_at = step, time.monotonic()
        self._report.state(path, step, size, self._saved_at - began)
