"""The trainer's loop over epochs and batches (TB:1915-2177), with a nap for every step."""

from __future__ import annotations

import time

from wan22lora.rehearsal.checkpoints import Checkpoints
from wan22lora.rehearsal.loss import LossCurve, LossRecorder
from wan22lora.rehearsal.prepared import Prepared
from wan22lora.rehearsal.progress import Progress
from wan22lora.rehearsal.tensors import dtype_named
from wan22lora.rehearsal.training_items import load_batch


class TrainingLoop:
    """The loop over epochs and batches (TB:1915-2177)."""

    def __init__(self, prepared: Prepared, checkpoints: Checkpoints) -> None:
        self._prepared = prepared
        self._args = prepared.args
        self._session = prepared.session
        self._checkpoints = checkpoints
        self._losses = LossCurve(prepared.args)
        self._recorder = LossRecorder()
        self._step = 0

    def run(self) -> None:
        console, epochs = self._session.console, self._prepared.size.epochs
        progress = Progress(self._args.max_train_steps, "steps")
        self._announce_precision()
        for epoch in range(epochs):
            console.print(f"\nepoch {epoch + 1}/{epochs}")
            self._prepared.announce_epoch(epoch + 1)
            self._run_epoch(epoch, progress)
            self._checkpoints.after_epoch(epoch + 1, epochs, self._step)
        self._checkpoints.at_end(self._step, epochs)
        console.info("trainer", "model saved.")
        progress.close()
        console.rehearsal("ended well. Nothing was trained: the files hold zeros.")

    def _run_epoch(self, epoch: int, progress: Progress) -> None:
        args, faults, batches = self._args, self._session.faults, self._prepared.batches
        for index, batch in enumerate(batches):
            if epoch == 0:
                load_batch(batch, self._prepared.needed, self._prepared.workers)
            if self._step == 0 and index == 0:
                faults.on_first_forward()
            value = self._losses.at(self._step / args.max_train_steps, epoch * len(batches) + index)
            loss = faults.loss(self._step + 1, value)
            last = index + 1 == len(batches)
            # What has gathered at the end of an epoch makes a step of its own.
            if (index + 1) % args.gradient_accumulation_steps == 0 or last:
                faults.on_step(self._step + 1)
                time.sleep(self._session.step_seconds)
                if self._step == 0:
                    progress.reset()
                progress.update()
                self._step += 1
                self._sample(step=self._step)
                self._checkpoints.after_step(self._step, epoch)
            self._recorder.add(epoch, index, loss)
            progress.set_postfix(avr_loss=self._recorder.average)
            if self._step >= args.max_train_steps:
                break
        self._sample(epoch=epoch + 1)

    def _sample(self, *, step: int | None = None, epoch: int | None = None) -> None:
        if self._prepared.samples_due(step=step, epoch=epoch):
            message = f"generating sample images at step / サンプル画像生成 ステップ: {self._step}"
            self._session.console.info("trainer", message)

    def _announce_precision(self) -> None:
        console, precision = self._session.console, getattr(self._args, "save_precision", None)
        if self._session.pin != "article":
            given = f"(--save_precision {precision})" if precision else "(default)"
            dtype = dtype_named(precision or "float32")
            console.info("trainer", f"network weights will be saved as torch.{dtype} {given}")
        console.info("trainer", f"DiT dtype: torch.{self._prepared.dit_dtype}, device: cuda")
