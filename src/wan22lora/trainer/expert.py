"""One expert's training: musubi's preparations, this extension's loop."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from musubi_tuner.wan_train_network import WanNetworkTrainer

from .checkpoints import Checkpoints
from .continuing import Continuing
from .disk import Disk
from .ema import Average
from .events import Events
from .failing import TrainingFailed
from .fast.starting import refused, require_compiling, require_fp8, start_fast
from .fast.weights import NoFp8, Unsupported
from .loading import loading
from .loop import Loop
from .metadata import checkpoint_metadata, training_metadata
from .ordering import in_order
from .parts import Parts
from .preservation import Preservation
from .reporting import Reporting
from .states import States
from .stopping import Stop, Workers
from .together import Together, alone
from .validation import Validation


class Expert(WanNetworkTrainer):
    """Trains one expert. `train` is musubi's own; the seams below lead to this extension."""

    def __init__(self, args: Namespace, events: Events, stop: Stop) -> None:
        super().__init__()
        self._events, self._stop = events, stop
        self._workers = Workers()
        self._disk = Disk(events, stop, args.disk_patience)
        self._states = States(args.states, args.states_keep_last, self._disk)
        self._preservation: Preservation | None = None
        self._validation: Validation | None = None

    def train(self, args: Namespace) -> None:
        if args.speed != "reference" and torch.cuda.is_available():
            require_compiling()
        if args.speed == "max":
            require_fp8(args)
        try:
            super().train(args)
        finally:
            self._workers.release()

    def _init_session(self, args: Namespace) -> tuple[int, float]:
        """A seed that musubi drew itself stays the training's seed; so do its number and its beginning."""
        found = self._states.newest()
        if found is not None and args.seed is None:
            args.seed = found.facts["seed"]
        session = super()._init_session(args)
        return session if found is None else (found.facts["session_id"], found.facts["started_at"])

    def _build_dataset(self, args: Namespace) -> Any:
        group, collator, epoch = super()._build_dataset(args)
        in_order(group)
        if args.held_out:
            self._validation = Validation(args)
            self._validation.split(group)
        if args.preservation_weight:
            self._preservation = Preservation(args)
            self._preservation.attach(group)
        return group, collator, epoch

    def load_transformer(
        self,
        accelerator: Any,
        args: Namespace,
        dit_path: str,
        attn_mode: str,
        split_attn: bool,
        loading_device: Any,
        dit_weight_dtype: Any,
    ) -> Any:
        with loading(dit_weight_dtype, accelerator.device) as loaded:
            model = super().load_transformer(
                accelerator, args, dit_path, attn_mode, split_attn, loading_device, dit_weight_dtype
            )
        told = loaded()
        self._events.emit(
            "weights-loaded",
            seconds=told.seconds,
            ram_peak=told.ram_peak,
            gpu_peak=told.gpu_peak,
            gpu_allocated=told.gpu_allocated,
        )
        return model

    def get_lr_scheduler(self, args: Namespace, optimizer: Any, _: int) -> Any:
        """The schedule counts optimizer steps, however many processes make them."""
        return super().get_lr_scheduler(args, optimizer, 1)

    def _build_optimizer_and_dataloader(self, *given: Any) -> Any:
        *built, loader = super()._build_optimizer_and_dataloader(*given)
        loader.worker_init_fn = self._workers
        return *built, loader

    def _prepare_with_accelerator(self, args: Namespace, accelerator: Any, *given: Any) -> Any:
        if args.processes > 1:
            alone(accelerator)
        prepared = super()._prepare_with_accelerator(args, accelerator, *given)
        if args.speed != "reference":
            try:
                print(f"speed: {args.speed}; {start_fast(args, accelerator, *prepared[:2])}", flush=True)
            except NoFp8 as reason:
                raise refused(reason) from None
            except Unsupported as reason:
                text = f"speed: {args.speed} does not know {reason}"
                raise TrainingFailed("not-fast", text, "speed: reference") from None
        return prepared

    def _run_training_loop(self, *given: Any) -> None:
        parts = Parts(*given)
        args = parts.args
        together = Together(parts.accelerator)
        if together.count != args.processes:
            raise TrainingFailed("error", f"{args.processes} processes were to train, and {together.count} do", "")
        if together.several:  # else accelerate makes as many steps of it as there are processes
            parts.lr_scheduler.split_batches = True
        together.share(parts.lora.get_trainable_params())
        average = Average(parts.lora.get_trainable_params(), args.ema_decay) if args.ema_decay else None
        reporting = Reporting(parts, self._events)
        continuing = Continuing(parts, average, self._states, self._events, together)
        loop = Loop(
            self,
            parts,
            continuing,
            Checkpoints(parts, average, self._metadata_of(parts), self._events, self._disk),
            reporting,
            self._events,
            self._stop,
            together,
            average,
            self._preservation,
            self._validation,
        )
        if parts.accelerator.is_main_process:
            parts.accelerator.init_trackers(
                args.log_tracker_name or "network_train", init_kwargs=_tracker_settings(args)
            )
        loop.run()

    def _metadata_of(self, parts: Parts) -> Any:
        args, group = parts.args, parts.train_dataset_group
        arguments = f"({parts.optimizer_args})" if parts.optimizer_args else ""
        training = training_metadata(
            args,
            session_id=parts.session_id,
            started_at=parts.training_started_at,
            base_model=self.architecture_full_name,
            datasets=[dataset.get_metadata() for dataset in group.datasets],
            items=group.num_train_items,
            batches=len(parts.train_dataloader),
            optimizer=parts.optimizer_name + arguments,
        )

        def describe(step: int, epoch: int) -> dict[str, str]:
            return checkpoint_metadata(args, training, self.architecture, step=step, epoch=epoch)

        return describe


def _tracker_settings(args: Namespace) -> dict[str, Any]:
    if args.log_tracker_config is not None:
        import toml  # one of musubi's requirements

        settings: dict[str, Any] = toml.load(args.log_tracker_config)
        return settings
    return {"wandb": {"name": args.wandb_run_name}} if args.wandb_run_name else {}
