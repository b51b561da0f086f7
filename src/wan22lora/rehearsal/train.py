"""Stand-in for wan_train_network.py: the order of events, lines and files of a training in which nothing is trained.

Source: training/trainer_base.py (TB) at v0.3.4, hv_train_network.py at d0a1930. As there, `--resume` restores a state
but starts again at step 0 and epoch 1 (TB:1922), and a missing `--output_dir` shows only when something is saved.
"""

from __future__ import annotations

import math
import os
import random
from argparse import Namespace
from collections.abc import Callable

from wan22lora.rehearsal.checkpoints import Checkpoints
from wan22lora.rehearsal.contents import open_datasets
from wan22lora.rehearsal.metadata import Size, training_metadata
from wan22lora.rehearsal.prepared import Prepared
from wan22lora.rehearsal.refusals import (
    check_arguments,
    check_data_loader,
    check_loading,
    check_network,
    check_optimizer,
    check_resume,
    check_schedule,
)
from wan22lora.rehearsal.session import Session
from wan22lora.rehearsal.tensors import dtype_named
from wan22lora.rehearsal.training_items import Batch, Cached, prepare_for_training
from wan22lora.rehearsal.training_loop import TrainingLoop


def train(args: Namespace, session: Session) -> None:
    """Raises what musubi-tuner raises, where it does."""
    prepared = prepare(args, session)
    if prepared is None:
        return
    _announce_training(prepared)
    metadata = training_metadata(args, prepared.datasets, prepared.size, prepared.optimizer, session.pin)
    checkpoints = Checkpoints(args, session, metadata, save_dtype(args, prepared.dit_dtype, session))
    TrainingLoop(prepared, checkpoints).run()


def prepare(
    args: Namespace,
    session: Session,
    *,
    keeps: Callable[[Cached], bool] = lambda _: True,
    on_batches: Callable[[list[Batch]], None] = lambda _: None,
    on_loaded: Callable[[str], None] = lambda _: None,
) -> Prepared | None:
    """Everything before the first step; None where nothing is to be trained (`--show_timesteps`).

    Items that `keeps` does not let through are not trained; `on_batches` gets an epoch's batches once they are known,
    `on_loaded` the dtype of the loaded DiT. Raises what musubi-tuner raises, where it does.
    """
    console = session.console
    dit_dtype = check_arguments(args, session)
    if args.show_timesteps:
        return None
    args.seed = random.randint(0, 2**32) if args.seed is None else args.seed
    datasets = open_datasets(args, session.pin, console, "trainer")
    prepared = [prepare_for_training(dataset, session, keeps) for dataset in datasets]
    batches, items = [batch for batches, _ in prepared for batch in batches], sum(count for _, count in prepared)
    on_batches(batches)
    batches = batches[:: getattr(args, "processes", 1)]  # the first one's share; accelerate makes all shares as long
    _require_items(items, session)
    _start_accelerator(args, dit_dtype, session)
    _prepare_sampling(args, session)
    _load_dit(args, session)
    on_loaded(dit_dtype)
    console.print(f"import network module: {args.network_module}")
    check_network(args, session)
    console.print("prepare optimizer, data loader etc.")
    optimizer = check_optimizer(args, session)
    check_data_loader(args)
    if args.max_train_epochs is not None:
        args.max_train_steps = args.max_train_epochs * math.ceil(len(batches) / args.gradient_accumulation_steps)
        console.print(
            f"override steps. steps for {args.max_train_epochs} epochs is / 指定エポックまでのステップ数:"
            f" {args.max_train_steps}"
        )
    check_schedule(args)
    check_resume(args, session)
    per_epoch = math.ceil(len(batches) / args.gradient_accumulation_steps)
    size = Size(items, len(batches), math.ceil(args.max_train_steps / per_epoch))
    return Prepared(args, session, datasets, batches, size, optimizer, dit_dtype)


def save_dtype(args: Namespace, dit_dtype: str, session: Session) -> str:
    """float32 unless asked otherwise; at d0a1930 the DiT's dtype (hv_train_network.py:1875)."""
    if session.pin == "article":
        return dit_dtype
    return dtype_named(args.save_precision or "float32")


def _require_items(items: int, session: Session) -> None:
    if items == 0:
        hint = ". Please ensure that the latent/Text Encoder cache has been created beforehand."
        hint = "" if session.pin == "article" else hint
        raise ValueError(f"No training items found in the dataset{hint} / データセットに学習データがありません")


def _start_accelerator(args: Namespace, dit_dtype: str, session: Session) -> None:
    console = session.console
    console.info("trainer", "preparing accelerator")
    if args.log_with in ("tensorboard", "all") and args.logging_dir is None:
        raise ValueError(
            "logging_dir is required when log_with is tensorboard"
            " / Tensorboardを使う場合、logging_dirを指定してください"
        )
    console.print("accelerator device: cuda")
    if args.mixed_precision is None:
        args.mixed_precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
        console.info("trainer", f"mixed precision set to {args.mixed_precision}")
    weights = dit_dtype if not args.fp8_base else None if args.fp8_scaled else "float8_e4m3fn"
    shown = None if weights is None else f"torch.{weights}"
    console.info("trainer", f"DiT precision: torch.{dit_dtype}, weight precision: {shown}")


def _prepare_sampling(args: Namespace, session: Session) -> None:
    if not args.sample_prompts:
        return
    session.console.info("main", f"cache Text Encoder outputs for sample prompt: {args.sample_prompts}")
    with open(args.sample_prompts, encoding="utf-8"):  # noqa: PTH123 - any string that musubi would accept
        pass
    for path, purpose in ((args.t5, "the text encoder"), (args.vae, "the VAE")):
        if path is None:
            raise AttributeError("'NoneType' object has no attribute 'endswith'")
        session.expect_weights(path, purpose)


def _load_dit(args: Namespace, session: Session) -> None:
    session.console.info("trainer", f"Loading DiT model from {args.dit}")
    check_loading(args)
    session.faults.on_load()
    session.console.info("model", f"Loaded DiT model from {args.dit}, info=<All keys matched successfully>")


def _announce_training(prepared: Prepared) -> None:
    args, size, session = prepared.args, prepared.size, prepared.session
    sizes = ", ".join(str(dataset.source.batch_size) for dataset in prepared.datasets)
    for line in (
        "running training / 学習開始",
        f"  num train items / 学習画像、動画数: {size.items}",
        f"  num batches per epoch / 1epochのバッチ数: {size.batches}",
        f"  num epochs / epoch数: {size.epochs}",
        f"  batch size per device / バッチサイズ: {sizes}",
        f"  gradient accumulation steps / 勾配を合計するステップ数 = {args.gradient_accumulation_steps}",
        f"  total optimization steps / 学習ステップ数: {args.max_train_steps}",
    ):
        session.console.print(line)
    session.console.info("trainer", f"set DiT model name for metadata: {args.dit}")
    if args.vae is not None:
        session.console.info("trainer", f"set VAE model name for metadata: {args.vae}")
