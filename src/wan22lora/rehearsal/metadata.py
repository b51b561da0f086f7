"""Metadata of a trained file, under musubi-tuner's names (TB:1816-1969 and utils/sai_model_spec.py at v0.3.4)."""

from __future__ import annotations

import datetime
import json
import os
import random
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan22lora.rehearsal.dataset_toml import Dataset

_MINIMUM = ("ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args")
_FROM_OPTIONS = (
    *("output_name", "learning_rate", "gradient_checkpointing", "gradient_accumulation_steps", "max_train_steps"),
    *("lr_warmup_steps", "lr_scheduler", "network_module", "network_dim", "network_alpha", "network_dropout"),
    *("mixed_precision", "seed", "training_comment", "max_grad_norm", "fp8_base", "weighting_scheme", "logit_mean"),
    *("logit_std", "mode_scale", "guidance_scale", "timestep_sampling", "sigmoid_scale", "discrete_flow_shift"),
)
_FOLDERS = ("image_directory", "image_jsonl_file", "video_directory", "video_jsonl_file", "control_directory")
_CLIPS = ("frame_extraction", "frame_stride", "frame_sample", "target_frames", "max_frames", "source_fps")


@dataclass(frozen=True)
class Size:
    """How much there is to train."""

    items: int
    batches: int
    epochs: int


def training_metadata(
    args: Namespace, datasets: Sequence[Dataset], size: Size, optimizer: str, pin: str
) -> dict[str, str]:
    """What is known before the first step."""
    # At d0a1930 the key is misspelt (hv_train_network.py:1771) and the offload is not recorded.
    session_key = "ss_ss_session_id" if pin == "article" else "ss_session_id"
    names = _FROM_OPTIONS + (() if pin == "article" else ("gradient_checkpointing_cpu_offload",))
    values: dict[str, Any] = {
        session_key: random.randint(0, 2**32),
        "ss_training_started_at": time.time(),
        "ss_num_train_items": size.items,
        "ss_num_batches_per_epoch": size.batches,
        "ss_num_epochs": size.epochs,
        "ss_base_model_version": "wan",
        "ss_full_fp16": False,
        "ss_full_bf16": False,
        "ss_optimizer": optimizer,
        "ss_datasets": json.dumps([_dataset_metadata(dataset.settings) for dataset in datasets]),
        "ss_sd_model_name": _file_name(args.dit),
    }
    values |= {f"ss_{name}": getattr(args, name) for name in names}
    if args.network_args:
        values["ss_network_args"] = json.dumps(dict(pair.split("=") for pair in args.network_args))
    if args.vae is not None:
        values["ss_vae_name"] = _file_name(args.vae)
    return {key: str(value) for key, value in values.items()}


def saved_metadata(args: Namespace, training: Mapping[str, str], step: int, epoch: int) -> dict[str, str]:
    """What a file saved now carries; `--no_metadata` leaves the least and the model specification."""
    now = time.time()
    progress = {"ss_training_finished_at": str(now), "ss_steps": str(step), "ss_epoch": str(epoch)}
    kept = {**training, **progress}
    if args.no_metadata:
        kept = {key: training[key] for key in _MINIMUM if key in training}
    return kept | _model_spec(args, now)


def _model_spec(args: Namespace, now: float) -> dict[str, str]:
    """The resolution is a placeholder of musubi's, whatever was trained."""
    title = args.metadata_title if args.metadata_title is not None else args.output_name
    sides = (getattr(args, "metadata_reso", None) or "1280,720").split(",")
    spec = {
        "sai_model_spec": "1.0.0",
        "architecture": f"{getattr(args, 'metadata_arch', None) or 'wan2.1'}/lora",
        "implementation": "https://github.com/Wan-Video/Wan2.1",
        "title": title if title is not None else f"LoRA@{now}",
        "date": datetime.datetime.fromtimestamp(int(now)).isoformat(),
        "resolution": f"{sides[0]}x{sides[-1]}",
        "author": args.metadata_author,
        "description": args.metadata_description,
        "license": args.metadata_license,
        "tags": args.metadata_tags,
    }
    if args.min_timestep is not None or args.max_timestep is not None:
        low = args.min_timestep if args.min_timestep is not None else 0
        high = args.max_timestep if args.max_timestep is not None else 1000
        spec["timestep_range"] = f"{low},{high}"
    return {f"modelspec.{key}": value for key, value in spec.items() if value is not None}


def _dataset_metadata(settings: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "resolution": settings["resolution"],
        "caption_extension": settings["caption_extension"],
        "batch_size_per_device": settings["batch_size"],
        "num_repeats": settings["num_repeats"],
        "enable_bucket": settings["enable_bucket"],
        "bucket_no_upscale": settings["bucket_no_upscale"],
    }
    for name in _FOLDERS:
        if settings.get(name) is not None:
            shown[name] = os.path.basename(settings[name])  # noqa: PTH119 - empty after a trailing slash, as in musubi
    shown |= {name: settings[name] for name in _CLIPS if name in settings}
    return shown | {"has_control": settings["control_directory"] is not None}


def _file_name(path: str) -> str:
    """Only a file that exists loses its folder."""
    return Path(path).name if Path(path).exists() else path
