"""The training loop: musubi's own steps in musubi's own order, with a position that can be kept and found again.

Given the same seed it draws the same random numbers as training/trainer_base.py:2019-2159 at v0.3.4 does, so a training
under this loop and one under musubi's give the same LoRA.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from musubi_tuner.modules.scheduling_flow_match_discrete import FlowMatchDiscreteScheduler
from musubi_tuner.training.accelerator_setup import clean_memory_on_device
from musubi_tuner.training.sampling_prompts import should_sample_images

from . import randomness
from .ahead import Ahead
from .checkpoints import Checkpoints
from .continuing import Continuing, Snapshot
from .ema import Average
from .events import Events
from .failing import TrainingStopped
from .outcomes import Outcomes, Sent
from .parts import Parts
from .position import Position
from .preservation import Preservation
from .reporting import Reporting
from .stopping import Stop
from .together import Together
from .updating import Updates, numbers
from .validation import Validation


@dataclass
class _Step:
    """What gathers until an optimizer step is complete."""

    losses: list[torch.Tensor] = field(default_factory=list)
    preservation: list[torch.Tensor] = field(default_factory=list)
    samples: int = 0


@dataclass(frozen=True)
class Loop:
    """The parts of the loop, and what it does beside training."""

    trainer: Any
    parts: Parts
    continuing: Continuing
    checkpoints: Checkpoints
    reporting: Reporting
    events: Events
    stop: Stop
    together: Together
    average: Average | None = None
    preservation: Preservation | None = None
    validation: Validation | None = None

    @property
    def batches_per_epoch(self) -> int:
        return len(self.parts.train_dataloader)

    @property
    def epochs(self) -> int:
        steps_per_epoch = math.ceil(self.batches_per_epoch / self.parts.args.gradient_accumulation_steps)
        return math.ceil(self.parts.args.max_train_steps / steps_per_epoch)

    def run(self) -> None:
        """Trains to the end. Raises TrainingStopped after a signal, with a state saved, and TrainingFailed."""
        _Running(self).run()


class _Running:
    """The loop under way: where it is, and what has gathered."""

    def __init__(self, loop: Loop) -> None:
        self._loop, self._parts, self._args = loop, loop.parts, loop.parts.args
        self._trainer, self._accelerator, self._lora = loop.trainer, loop.parts.accelerator, loop.parts.lora
        self._noise_scheduler = FlowMatchDiscreteScheduler(
            shift=self._args.discrete_flow_shift, reverse=True, solver="euler"
        )
        self._at = Position()
        self._random: dict[str, Any] | None = None
        """Random states of the state that is continued from, until they are put back."""
        self._together = loop.together
        self._epoch_random = torch.get_rng_state()
        self._order: Any = getattr(self._parts.train_dataloader, "synchronized_generator", None)
        """What several processes draw the order of an epoch from; None for a single one."""
        self._epoch_order = None if self._order is None else self._order.get_state()
        self._snapshot = self._take_snapshot()
        self._stop_agreed = False
        self._step = _Step()
        self._updates = Updates(loop.parts, alone=not self._together.several)
        self._ahead = Ahead(self._accelerator.device, used=self._updates.may_wait)
        self._outcomes = Outcomes(loop.events, loop.reporting, loop.average, loop.epochs, self._args.max_nan_steps)
        self._save_due = False
        """Agreed by several processes before the update."""

    def run(self) -> None:
        loop, parts, began = self._loop, self._parts, time.monotonic()
        self._trainer.on_train_start(self._args, self._accelerator, parts.network, parts.transformer, parts.optimizer)
        self._continue()
        if self._at.batches == 0:
            self._sample(0)
        clean_memory_on_device(self._accelerator.device)
        parts.optimizer_train_fn()
        loop.stop.finish_batches()
        while self._at.step < self._args.max_train_steps or self._at.batch:
            self._run_epoch()
            if self._stop_wanted and self._at.step < self._args.max_train_steps:
                self._stop()
        self._finish()
        seconds = round(time.monotonic() - began, 3)
        loop.events.emit("training-ended", step=self._at.step, seconds=seconds)

    def _continue(self) -> None:
        snapshot = self._loop.continuing.restore(self._trainer)
        if snapshot is not None:
            self._snapshot, self._at, self._random = snapshot, snapshot.at, snapshot.random
            self._epoch_random = snapshot.epoch_random
            if snapshot.order is not None:
                self._epoch_order = snapshot.order["began"]
                self._order.set_state(snapshot.order["now"])
        elif not self._together.first:
            torch.manual_seed(self._args.seed + self._together.index)  # noise and timesteps of its own
        self._updates.begin()
        total, epochs, state = self._args.max_train_steps, self._loop.epochs, self._loop.continuing.newest
        self._loop.events.emit(
            "training-begun", step=self._at.step, total=total, epoch=self._at.epoch + 1, epochs=epochs, state=state
        )
        begins = "begins" if state is None else f"continues after step {self._at.step} of {state}"
        print(f"training {begins}; {total} steps, {epochs} epochs", flush=True)

    def _run_epoch(self) -> None:
        self._parts.current_epoch.value = self._at.epoch + 1
        self._lora.on_epoch_start(self._parts.transformer)
        for batch in self._batches_left():
            self._train_on(batch)
            if self._stop_wanted:
                self._stop()
        self._end_epoch()

    @property
    def _stop_wanted(self) -> bool:
        """Several processes stop after the step in which they have all heard of it."""
        return self._stop_agreed if self._together.several else self._loop.stop.wanted

    def _take_snapshot(self) -> Snapshot:
        order = None if self._order is None else {"began": self._epoch_order, "now": self._order.get_state()}
        return Snapshot.take(self._at, self._epoch_random, self._trainer, self._parts, order)

    def _batches_left(self) -> Iterator[Any]:
        """The batches of the current epoch that are not done yet, in the order of an epoch that never stopped."""
        loader = self._parts.train_dataloader
        if self._at.epoch and loader.persistent_workers:
            # Workers that stay take no seed in later epochs (torch's _MultiProcessingDataLoaderIter._reset); those of a
            # process that continued must not take one either. accelerate's loader hands all over to another one.
            loader.base_dataloader.generator = torch.Generator()
        if self._at.batch == 0:
            self._restore_random()
            self._epoch_random = torch.get_rng_state()
            self._epoch_order = None if self._order is None else self._order.get_state()
            self._snapshot = self._take_snapshot()
        else:
            assert self._random is not None  # only a state leads into the midst of an epoch
            randomness.restore(self._random)
            # Python's from here on: a dataset that this epoch meets only now seeds it anew, as it would have.
            self._random = {name: state for name, state in self._random.items() if name != "python"}
            torch.set_rng_state(self._epoch_random)
            if self._order is not None and self._at.batch < self._loop.batches_per_epoch:
                self._order.set_state(self._epoch_order)
            loader = self._accelerator.skip_first_batches(loader, self._at.batch)
        if self._at.batch < self._loop.batches_per_epoch:
            batches = iter(loader)
            while self._at.step < self._args.max_train_steps:
                with self._ahead.beside():  # accelerate copies the batch to the GPU
                    batch = next(batches, None)
                if batch is None:
                    break
                self._restore_random()  # only now: the order of an epoch's batches is drawn when it begins
                yield batch
        self._restore_random()

    def _restore_random(self) -> None:
        if self._random is not None:
            randomness.restore(self._random)
            self._random = None

    def _train_on(self, batch: dict[str, Any]) -> None:
        with self._accelerator.accumulate(self._parts.training_model):
            self._lora.on_step_start()
            try:
                self._backward(batch)
            finally:
                if self._outcomes.open:  # the GPU is at this batch meanwhile
                    self._outcomes.settle()
                    self._loop.reporting.start_clock()
            size = batch["latents"].shape[0]
            self._step.samples += size
            self._at = replace(self._at, batch=self._at.batch + 1, batches=self._at.batches + 1)
            if not self._accelerator.sync_gradients:
                self._parts.lr_scheduler.step()  # accelerate's scheduler only counts here
                return
            self._update()
        self._after_update()

    def _backward(self, batch: dict[str, Any]) -> None:
        """Adds the gradients of one batch: musubi's process_batch, with a backward pass for each loss."""
        args, accelerator, parts, trainer = self._args, self._accelerator, self._parts, self._trainer
        with self._ahead.beside():
            latents = trainer.scale_shift_latents(batch["latents"])
            noise = torch.randn_like(latents)
            noisy, timesteps = trainer.get_noisy_model_input_and_timesteps(
                args, noise, latents, batch["timesteps"], self._noise_scheduler, accelerator.device, parts.dit_dtype
            )
        self._ahead.hand_over(batch, latents, noise, noisy, timesteps)
        preservation = self._loop.preservation
        if preservation is not None and preservation.due(self._at.batches):
            kept = preservation.loss(
                trainer,
                args,
                accelerator,
                parts.transformer,
                self._lora,
                batch,
                latents,
                noise,
                noisy,
                timesteps,
                parts.network_dtype,
            )
            accelerator.backward(kept * preservation.factor)
            self._step.preservation.append(kept.detach())
        output = trainer.call_dit(
            args, accelerator, parts.transformer, latents, batch, noise, noisy, timesteps, parts.network_dtype
        )
        loss, _ = trainer.compute_loss(
            args, output, timesteps, self._noise_scheduler, parts.dit_dtype, parts.network_dtype, self._at.step
        )
        accelerator.backward(loss)
        self._step.losses.append(loss.detach())

    def _update(self) -> None:
        """Sends one optimizer step."""
        if self._together.several:
            self._agree()
        lr = float(self._parts.lr_scheduler.get_last_lr()[0])
        look = self._updates.send(self._step.losses, self._step.preservation)
        self._at = replace(self._at, step=self._at.step + 1)
        self._outcomes.expect(Sent(look, self._at.step, self._at.epoch + 1, lr, self._step.samples))
        self._step = _Step()

    def _agree(self) -> None:
        """What several processes have gathered becomes the same for all of them."""
        step, scalar = self._step, torch.tensor
        agreed = self._together.agree(
            numbers(step.losses),
            numbers(step.preservation),
            step.samples,
            stop=self._loop.stop.signal or 0,
            save=self._loop.continuing.due(self._at.step + 1),
        )
        self._step = _Step([*map(scalar, agreed.losses)], [*map(scalar, agreed.preservation)], agreed.samples)
        self._save_due, self._stop_agreed = agreed.save, bool(agreed.stop)
        self._loop.stop.agree(agreed.stop)
        self._together.average(self._lora.get_trainable_params())

    def _after_update(self) -> None:
        loop, args, step = self._loop, self._args, self._at.step
        self._snapshot = self._take_snapshot()
        checkpoint, pictures = loop.checkpoints.due_after_step(step), should_sample_images(args, step)
        validation = loop.validation is not None and loop.validation.due(step)
        state = self._save_due if self._together.several else loop.continuing.due(step)
        last = step >= args.max_train_steps
        if self._updates.may_wait and not (checkpoint or pictures or validation or state or last or self._stop_wanted):
            return
        self._outcomes.settle()
        if checkpoint or pictures:
            with self._weights_for_looking():
                if checkpoint:  # before the pictures, which a stop breaks off
                    loop.checkpoints.after_step(step, self._at.epoch)
                self._sample(step)
        if validation:
            self._validate()
        if state:
            loop.continuing.save(self._snapshot)
        loop.reporting.start_clock()

    def _end_epoch(self) -> None:
        loop, step, epoch = self._loop, self._at.step, self._at.epoch + 1
        self._at = replace(self._at, epoch=epoch, batch=0)
        checkpoint = loop.checkpoints.due_after_epoch(epoch, loop.epochs)
        pictures = should_sample_images(self._args, step, epoch)
        self._outcomes.end_epoch(epoch, step)
        if self._outcomes.open and not (checkpoint or pictures):
            return
        self._outcomes.settle()
        with self._weights_for_looking():
            if checkpoint:
                loop.checkpoints.after_epoch(step, epoch)
            self._sample(step, epoch)
        loop.reporting.start_clock()

    def _sample(self, step: int, epoch: int | None = None) -> None:
        """Sample pictures, if they are due. A stop need not wait for them."""
        if not should_sample_images(self._args, step, epoch if step else 0):
            return
        parts, folder = self._parts, Path(self._args.output_dir) / "sample"
        before = set(folder.glob("*"))
        with self._interruptible():
            self._trainer.sample_images(
                self._accelerator,
                self._args,
                epoch if step else 0,
                step,
                parts.vae,
                parts.transformer,
                parts.sample_parameters,
                parts.dit_dtype,
            )
        self._loop.events.emit("samples", step=step, paths=sorted(set(folder.glob("*")) - before))

    def _validate(self) -> None:
        loop, step = self._loop, self._at.step
        assert loop.validation is not None
        with self._weights_for_looking():
            result = loop.validation.run(
                self._trainer, self._parts, self._lora, stop_requested=lambda: loop.stop.wanted
            )
        if result is not None:
            loop.events.emit("validation", step=step, loss=result.loss, bins=result.bins, seconds=result.seconds)
            print(f"validation after step {step}: loss {result.loss:.4g}", flush=True)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Work that a stop may break off: the state of the last step is saved then."""
        try:
            with self._loop.stop.interruptible():
                yield
        except TrainingStopped:
            if self._at.batches:
                self._loop.continuing.save(self._snapshot)
            raise

    @contextmanager
    def _weights_for_looking(self) -> Iterator[None]:
        """Schedule-free optimizers hold other weights for use than for training."""
        self._parts.optimizer_eval_fn()
        try:
            yield
        finally:
            self._parts.optimizer_train_fn()

    def _stop(self) -> None:
        self._outcomes.settle()
        self._loop.continuing.save(self._snapshot)
        self._together.wait()  # the others live as long as the first, which writes
        self._loop.stop.raise_if_wanted()

    def _finish(self) -> None:
        self._outcomes.settle()
        self._loop.continuing.save(self._snapshot)
        self._together.wait()
        self._accelerator.end_training()
        self._parts.optimizer_eval_fn()
        self._loop.checkpoints.final(self._at.step, self._loop.epochs)
