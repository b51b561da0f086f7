"""Failures whose cause is a setting: an option that musubi refuses, or options that exclude each other."""

from __future__ import annotations

from wan22lora.musubi.failure import KnownFailure

SETTINGS = (
    KnownFailure(
        "option-refused",
        r"^\S+: error: (?P<what>(?:unrecognized arguments|argument |the following arguments|ambiguous option).*)",
        "musubi refuses its command line: {what}.",
        "is the checkout at run.yaml's `pin`? `wan22lora train run.yaml --dry-run` shows the command",
    ),
    KnownFailure(
        "no-lora-modules",
        r"optimizer got an empty parameter list|No LoRA modules found|create LoRA for U-Net/DiT: 0 modules",
        "No layer of the model got a LoRA: the network module is not Wan's, or its patterns leave every layer out.",
        "remove train.network_args, and network_module under `musubi`",
    ),
    KnownFailure(
        "network-weights-of-another-rank",
        r"Error\(s\) in loading state_dict for LoRANetwork",
        "train.network_weights is a LoRA of another rank or model.",
        "train.rank must be that of the LoRA to start from",
    ),
    KnownFailure(
        "too-many-blocks-to-swap",
        r"Cannot swap more than (?P<most>\d+) blocks",
        "Of this model's blocks at most {most} can wait in RAM.",
        "train.blocks_to_swap: {most} or less",
    ),
    KnownFailure(
        "swap-without-checkpointing",
        r"--block_swap_h2d_only requires --gradient_checkpointing",
        "block_swap_h2d_only works only together with gradient checkpointing.",
        "train.gradient_checkpointing: true",
    ),
    KnownFailure(
        "joint-mode-options",
        r"Block swap is not supported with offloading inactive DiT",
        "offload_inactive_dit belongs to joint mode and excludes block swap.",
        "remove offload_inactive_dit from `musubi`",
    ),
    KnownFailure(
        "fp8-scaled-without-base",
        r"fp8_scaled requires fp8_base",
        "fp8_scaled works only together with fp8_base.",
        "train.fp8_base: true",
    ),
    KnownFailure(
        "attention-missing",
        r"either --sdpa, --flash-attn.* must be specified",
        "musubi was not told who computes attention.",
        "train.attention: sdpa",
    ),
    KnownFailure(
        "attention-cannot-train",
        r"SageAttention doesn't support training",
        "SageAttention computes no gradients.",
        "train.attention: sdpa",
    ),
    KnownFailure(
        "persistent-workers-without-workers",
        r"persistent_workers option needs num_workers > 0",
        "Data-loader processes cannot be kept when there are none.",
        "train.data_loader_workers: 2, or remove persistent_data_loader_workers from `musubi`",
    ),
    KnownFailure(
        "warmup-without-warmup-scheduler",
        r"does not require `num_warmup_steps`",
        "This learning-rate scheduler knows no warm-up.",
        "train.lr_scheduler: constant_with_warmup, or remove train.lr_warmup_steps",
    ),
    KnownFailure(
        "unknown-optimizer",
        r"AttributeError: module '(?P<module>\S*optim\S*)' has no attribute '(?P<name>\w*)'",
        "{module} has no optimizer called '{name}'.",
        "train.optimizer: adamw, adamw8bit, adafactor, or the full name of a class",
    ),
    KnownFailure(
        "equals-sign-in-an-argument",
        r"in (?:_build_network|get_optimizer|get_lr_scheduler|train)\n"
        r"ValueError: (?:too many|not enough) values to unpack",
        "An argument of optimizer, scheduler or network contains a second `=` or none.",
        "write train.optimizer_args, train.lr_scheduler_args and train.network_args as `name: value`, without `=`",
    ),
    KnownFailure(
        "interval-of-zero",
        r"ZeroDivisionError: integer modulo by zero",
        "An interval of saving or sampling is 0.",
        "remove it, or set train.save_every_epochs or train.save_every_steps to 1 or more",
    ),
    KnownFailure(
        "state-missing",
        r"Tried to find (?P<path>.+) but folder does not exist",
        "The state {path} to resume from is not there.",
        "check `resume` under `musubi`",
    ),
    KnownFailure(
        "logging-folder-missing",
        r"logging_dir is required when log_with is tensorboard",
        "TensorBoard needs a folder for its log.",
        "add logging_dir beside log_with under `musubi`",
    ),
)
