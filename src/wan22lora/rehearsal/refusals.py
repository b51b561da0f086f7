"""Where musubi-tuner's trainer refuses what it was given, early and late, in its own words and order.

Source: WT:54-106 (wan_train_network.py) and TB:165-429, 1377-1650 (training/trainer_base.py) at v0.3.4; the same checks
stand in hv_train_network.py and wan_train_network.py at d0a1930.
"""

from __future__ import annotations

import ast
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from wan22lora.musubi.environment import TORCH_OPTIMIZERS
from wan22lora.musubi.safetensors import read_header
from wan22lora.musubi.weights import guess_from_name, inspect_weights
from wan22lora.rehearsal.session import Session

BOUNDARIES = {"t2v-A14B": 0.875, "i2v-A14B": 0.9}
_DTYPES = {
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "fp8_e4m3fn": "float8_e4m3fn",
    "fp8_e5m2": "float8_e5m2",
    "no": "float32",
}
_ATTENTION = ("sdpa", "flash_attn", "sage_attn", "xformers", "flash3")
_LORA_MODULES = ("networks.lora_wan", "networks.loha", "networks.lokr", "networks.lora", "lycoris.kohya")
_SCHEDULERS = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"),
    *("reduce_lr_on_plateau", "cosine_with_min_lr", "warmup_stable_decay", "piecewise_constant", "rex", "adafactor"),
)


def check_arguments(args: Namespace, session: Session) -> str:
    """What is refused before the dataset is read (TB:1377-1418, WT:54-106). Returns the dtype of the DiT."""
    if args.dataset_config is None:
        raise ValueError("dataset_config is required / dataset_configが必要です")
    if args.dit is None:
        raise ValueError("path to DiT model is required / DiTモデルのパスが必要です")
    assert not args.fp8_scaled or args.fp8_base, "fp8_scaled requires fp8_base / fp8_scaledはfp8_baseが必要です"
    if args.sage_attn:
        raise ValueError(
            "SageAttention doesn't support training currently. Please use `--sdpa` or `--xformers` etc. instead."
            " / SageAttentionは現在学習をサポートしていないようです。"
        )
    dtype = _dit_dtype(args, session)
    if dtype == "float16":
        assert args.mixed_precision in ["fp16", "no"], "DiT weights are in fp16, mixed precision must be fp16 or no"
    elif dtype == "bfloat16":
        assert args.mixed_precision in ["bf16", "no"], "DiT weights are in bf16, mixed precision must be bf16 or no"
    if dtype.startswith("float8"):
        if args.fp8_scaled:
            raise ValueError(
                "DiT weights is already in fp8 format, cannot scale to fp8. Please use fp16/bf16 weights"
                " / DiTの重みはすでにfp8形式です。fp8にスケーリングできません。fp16/bf16の重みを使用してください"
            )
        dtype = "float16" if args.mixed_precision == "fp16" else "bfloat16"
    boundary = getattr(args, "timestep_boundary", None) or BOUNDARIES.get(args.task)
    if boundary is not None and session.pin != "article":
        boundary = boundary / 1000 if boundary > 1 else boundary
        session.console.info("main", f"Converted timestep_boundary to 0 to 1 range: {boundary}")
    return dtype


def check_loading(args: Namespace) -> None:
    """What is refused before and while the DiT is loaded (TB:1496-1528)."""
    if not any(getattr(args, name) for name in _ATTENTION):
        raise ValueError(
            "either --sdpa, --flash-attn, --flash3, --sage-attn or --xformers must be specified"
            " / --sdpa, --flash-attn, --flash3, --sage-attn, --xformersのいずれかを指定してください"
        )
    blocks = 30 if "1.3B" in args.task else 40
    assert (args.blocks_to_swap or 0) < blocks, (
        f"Cannot swap more than {blocks - 1} blocks. Requested {args.blocks_to_swap} blocks to swap."
    )


def check_network(args: Namespace, session: Session) -> None:
    """What is refused after the DiT was loaded, for the LoRA (TB:1530-1600)."""
    module = args.network_module
    if module is None:
        raise AttributeError("'NoneType' object has no attribute 'startswith'")
    if module.removeprefix("musubi_tuner.") not in _LORA_MODULES:
        raise ModuleNotFoundError(f"No module named {module!r}")
    _pairs(args.network_args)
    modules = 0 if _finds_no_modules(args) else 300 if "1.3B" in args.task else 400
    rank = args.network_dim or 4
    session.console.info("lora", f"create LoRA network. base dim (rank): {rank}, alpha: {args.network_alpha}")
    session.console.info("lora", f"create LoRA for U-Net/DiT: {modules} modules.")
    session.console.info("lora", f"enable LoRA for U-Net: {modules} modules")
    if not modules and session.pin != "article":
        raise RuntimeError("No LoRA modules found")


def check_optimizer(args: Namespace, session: Session) -> str:
    """What is refused for the optimizer (TB:165-257). Returns its name and arguments as the metadata show them."""
    arguments = {key: ast.literal_eval(value) for key, value in _pairs(args.optimizer_args).items()}
    if _finds_no_modules(args):
        raise ValueError("optimizer got an empty parameter list")
    kind = args.optimizer_type.lower()
    if kind == "adamw8bit":
        label, name = "8-bit AdamW optimizer", "bitsandbytes.optim.adamw.AdamW8bit"
    elif kind == "adafactor":
        label, name = "Adafactor optimizer", "transformers.optimization.Adafactor"
        arguments.setdefault("relative_step", True)
        if arguments["relative_step"]:
            args.lr_scheduler, args.learning_rate = f"adafactor:{args.learning_rate}", None
    elif kind == "adamw":
        label, name = "AdamW optimizer", "torch.optim.adamw.AdamW"
    else:
        label, name = args.optimizer_type, args.optimizer_type
        if "." not in name:
            if name not in TORCH_OPTIMIZERS:
                raise AttributeError(f"module 'torch.optim' has no attribute {name!r}")
            name = f"torch.optim.{name.lower()}.{name}"
    session.console.info("trainer", f"use {label} | {arguments}")
    shown = ",".join(f"{key}={value}" for key, value in arguments.items())
    return f"{name}({shown})" if shown else name


def check_data_loader(args: Namespace) -> None:
    """What is refused for the data loader (TB:1625-1638)."""
    workers = min(args.max_data_loader_n_workers, os.cpu_count() or 1)
    if args.persistent_data_loader_workers and workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def check_schedule(args: Namespace) -> None:
    """What is refused for the learning rate's schedule (TB:279-429)."""
    if args.optimizer_type.lower().endswith("schedulefree"):
        return
    for value in _pairs(args.lr_scheduler_args).values():
        ast.literal_eval(value)
    if args.lr_scheduler_type:
        return
    name = args.lr_scheduler.split(":")[0]
    if name not in _SCHEDULERS:
        raise ValueError(f"{name} is not a valid SchedulerType, please select one of {list(_SCHEDULERS)}")
    warmup = args.lr_warmup_steps
    if name == "constant" and (int(warmup * args.max_train_steps) if isinstance(warmup, float) else warmup):
        raise ValueError("SchedulerType.CONSTANT does not require `num_warmup_steps`. Set None or 0.")
    if name == "polynomial" and args.learning_rate <= 1e-7:
        raise ValueError(f"lr_end (1e-07) must be smaller than initial lr ({args.learning_rate})")


def check_resume(args: Namespace, session: Session) -> None:
    """A state is loaded, and nothing of it says where the training was (TB:431-440, 1922)."""
    if not args.resume:
        return
    assert not args.resume_from_huggingface, "a rehearsal fetches nothing"
    session.console.info("trainer", f"resume training from local state: {args.resume}")
    state = Path(args.resume).expanduser()
    if not state.is_dir():
        raise ValueError(f"Tried to find {state} but folder does not exist")
    read_header(state / "model.safetensors")
    (state / "optimizer.bin").read_bytes()
    if not args.optimizer_type.lower().endswith("schedulefree"):
        (state / "scheduler.bin").read_bytes()


def _finds_no_modules(args: Namespace) -> bool:
    """HunyuanVideo's module looks for blocks that Wan does not have. The older pin notices at the optimizer."""
    module: str = args.network_module
    return module.removeprefix("musubi_tuner.") == "networks.lora"


def _dit_dtype(args: Namespace, session: Session) -> str:
    """Without the file, which a rehearsal can do without, the dtype that its name gives or the precision asks for."""
    if session.faults.has("dtype"):
        return "bfloat16" if args.mixed_precision == "fp16" else "float16"
    path = Path(args.dit)
    session.expect_weights(args.dit, "the DiT")
    if not path.exists():
        return _DTYPES[guess_from_name(path).dtype or args.mixed_precision or "no"]
    facts = inspect_weights(path)
    dtype = facts.dtype if facts.kind in ("wan-dit", "wan22-5b-dit") else None
    if dtype is None:
        raise ValueError(f"Could not find the dtype in the model weights: {args.dit}")
    session.console.info("model", f"Detected DiT dtype: torch.{_DTYPES[dtype]}")
    return _DTYPES[dtype]


def _pairs(entries: list[str] | None) -> dict[str, Any]:
    """`key=value`, split as musubi does: a second `=` is an error (TB:172, 304, 1563)."""
    pairs = {}
    for entry in entries or ():
        key, value = entry.split("=")
        pairs[key] = value
    return pairs
