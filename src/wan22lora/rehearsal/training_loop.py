"""The trainer's loop over epochs and batches (TB:1915-2177), with a nap for every step."""

from __future__ import annotations

import os
import time
from argparse import Namespace

from wan22lora.rehearsal.checkpoints import Checkpoints
from wan22lora.rehearsal.loss import LossCurve, LossRecorder
from wan22lora.rehearsal.metadata import Size
from wan22lora.rehearsal.progress import Progress
from wan22lora.rehearsal.session import Session
from wan22lora.rehearsal.tensors import dtype_named
from wan22lora.rehearsal.training_items import Batch, load_batch


class TrainingLoop:
    """The loop over epochs and batches (TB:1915-2177)."""

    def __init__(
        self,
        args: Namespace,
        session: Session,
        batches: list[Batch],
        size: Size,
        checkpoints: Checkpoints,
        datasets: int,
    ) -> None:
        self._args = args
        self._session = session
        self._datasets = datasets
        self._batches = batches
        self._size = size
        self._checkpoints = checkpoints
        self._losses = LossCurve(args)
        self._recorder = LossRecorder()
        self._step = 0
        self._workers = min(args.max_data_loader_n_workers, os.cpu_count() or 1)

    def run(self, dit_dtype: str) -> None:
        console = self._session.console
        progress = Progress(self._args.max_train_steps, "steps")
        self._announce_precision(dit_dtype)
        for epoch in range(self._size.epochs):
            console.print(f"\nepoch {epoch + 1}/{self._size.epochs}")
            self._announce_epoch(epoch + 1)
            self._run_epoch(epoch, progress)
            self._checkpoints.after_epoch(epoch + 1, self._size.epochs, self._step)
        self._checkpoints.at_end(self._step, self._size.epochs)
        console.info("trainer", "model saved.")
        progress.close()
        console.rehearsal("ended well. Nothing was trained: the files hold zeros.")

    def _run_epoch(self, epoch: int, progress: Progress) -> None:
        args, faults = self._args, self._session.faults
        for index, batch in enumerate(self._batches):
            if epoch == 0:
                load_batch(batch, _needed(args.task), self._workers)
            if self._step == 0 and index == 0:
                faults.on_first_forward()
            loss = faults.loss(self._step + 1, self._losses.at(self._step / args.max_train_steps))
            last = index + 1 == len(self._batches)
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
        every = self._args.sample_every_n_steps if epoch is None else self._args.sample_every_n_epochs
        count = step if epoch is None else epoch
        if every is not None and count is not None and count % every == 0:
            message = f"generating sample images at step / サンプル画像生成 ステップ: {self._step}"
            self._session.console.info("trainer", message)

    def _announce_epoch(self, epoch: int) -> None:
        """Each worker of the data loader notices the new epoch in each dataset; workers that end forget it."""
        remembers = self._workers == 0 or self._args.persistent_data_loader_workers
        before = epoch - 1 if remembers else 0
        message = f"epoch is incremented. current_epoch: {before}, epoch: {epoch}"
        for _ in range(min(max(self._workers, 1), len(self._batches)) * self._datasets):
            self._session.console.info("dataset", message)

    def _announce_precision(self, dit_dtype: str) -> None:
        console, precision = self._session.console, getattr(self._args, "save_precision", None)
        if self._session.pin != "article":
            given = f"(--save_precision {precision})" if precision else "(default)"
            dtype = dtype_named(precision or "float32")
            console.info("trainer", f"network weights will be saved as torch.{dtype} {given}")
        console.info("trainer", f"DiT dtype: torch.{dit_dtype}, device: cuda")


def _needed(task: str) -> tuple[str, ...]:
    """Contents that a batch must have beside the latents (WT:670-690)."""
    needed = ["latents_image"] if "i2v" in task or "flf2v" in task else []
    needed += ["clip"] if needed and "A14B" not in task else []
    return (*needed, "latents_control") if task.endswith("-FC") else tuple(needed)
