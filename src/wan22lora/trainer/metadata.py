"""The metadata of a LoRA file: the keys that musubi writes (training/trainer_base.py:1822-1916 at v0.3.4)."""

from __future__ import annotations

import json
import math
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from musubi_tuner.training.trainer_base import SS_METADATA_MINIMUM_KEYS
from musubi_tuner.utils import sai_model_spec

FROM_ARGUMENTS = (
    "output_name",
    "learning_rate",
    "gradient_checkpointing",
    "gradient_checkpointing_cpu_offload",
    "gradient_accumulation_steps",
    "max_train_steps",
    "lr_warmup_steps",
    "lr_scheduler",
    "network_module",
    "network_dim",
    "network_alpha",
    "network_dropout",
    "mixed_precision",
    "seed",
    "training_comment",
    "max_grad_norm",
    "weighting_scheme",
    "logit_mean",
    "logit_std",
    "mode_scale",
    "guidance_scale",
    "timestep_sampling",
    "sigmoid_scale",
    "discrete_flow_shift",
)
"""Options that are written as they are, under `ss_` and their name."""
FLAGS = ("fp8_base", "full_fp16", "full_bf16")


def training_metadata(
    args: Namespace,
    *,
    session_id: int,
    started_at: float,
    base_model: str,
    datasets: list[dict[str, Any]],
    items: int,
    batches: int,
    optimizer: str,
) -> dict[str, str]:
    """What is the same for every checkpoint of a training."""
    facts: dict[str, Any] = {
        "ss_session_id": session_id,
        "ss_training_started_at": started_at,
        "ss_num_train_items": items,
        "ss_num_batches_per_epoch": batches,
        "ss_num_epochs": math.ceil(args.max_train_steps / math.ceil(batches / args.gradient_accumulation_steps)),
        "ss_base_model_version": base_model,
        "ss_optimizer": optimizer,
        "ss_datasets": json.dumps(datasets),
        **{f"ss_{name}": getattr(args, name) for name in FROM_ARGUMENTS},
        **{f"ss_{name}": bool(getattr(args, name)) for name in FLAGS},
    }
    if args.network_args:
        facts["ss_network_args"] = json.dumps(dict(argument.split("=") for argument in args.network_args))
    for key, weights in (("ss_sd_model_name", args.dit), ("ss_vae_name", args.vae)):
        if weights is not None:
            facts[key] = Path(weights).name if Path(weights).exists() else weights
    return {key: str(value) for key, value in facts.items()}


def checkpoint_metadata(
    args: Namespace, training: dict[str, str], architecture: str, *, step: int, epoch: int
) -> dict[str, str]:
    """What one file carries. With --no_metadata only what tells the kind of LoRA, as musubi does."""
    now = time.time()
    facts = {**training, "ss_training_finished_at": str(now), "ss_steps": str(step), "ss_epoch": str(epoch)}
    if args.no_metadata:
        facts = {key: value for key, value in facts.items() if key in SS_METADATA_MINIMUM_KEYS}
    ranged = args.min_timestep is not None or args.max_timestep is not None
    facts.update(
        sai_model_spec.build_metadata(
            None,
            architecture,
            now,
            args.metadata_title if args.metadata_title is not None else args.output_name,
            args.metadata_reso,
            args.metadata_author,
            args.metadata_description,
            args.metadata_license,
            args.metadata_tags,
            timesteps=(args.min_timestep or 0, 1000 if args.max_timestep is None else args.max_timestep)
            if ranged
            else None,
            custom_arch=args.metadata_arch,
        )
    )
    return facts
