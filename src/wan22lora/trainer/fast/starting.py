"""From the trainer's options to a model that computes the fast way."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch

from ..failing import TrainingFailed
from .ability import what_lacks
from .fp8 import results_of
from .making import make_fast
from .weights import NoFp8, Unsupported

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def require_compiling() -> None:
    """Raises TrainingFailed where this machine cannot compile for its GPU."""
    lack = what_lacks()
    if lack is not None:
        raise TrainingFailed("not-fast", lack.text, lack.fix)


def require_fp8(args: Namespace) -> None:
    """Raises TrainingFailed where this machine has no products of 8-bit numbers, or the weights could not be kept."""
    if args.fp8_scaled and args.block_swap_h2d_only:
        # musubi streams blocks from a copy that it makes first; making one scale of a row's scales would not reach it.
        text = "speed: max does not know --block_swap_h2d_only with --fp8_scaled"
        raise TrainingFailed("not-fast", text, "remove block_swap_h2d_only, or speed: fast")
    try:
        _results(torch.bfloat16, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    except NoFp8 as reason:
        raise refused(reason) from None


def refused(reason: NoFp8) -> TrainingFailed:
    text = f"speed: max multiplies numbers of 8 bits, which do not go with {reason}"
    return TrainingFailed("not-fast", text, "speed: fast")


def start_fast(args: Namespace, accelerator: Any, transformer: Any, network: Any) -> str:
    """Belongs after accelerate has prepared both and before the first step; tells what was made, for the log.

    Raises Unsupported or, with `speed: max`, NoFp8, with the model as it was. Blocks that are swapped are kept or
    computed again as a whole, and their weights stay as they are: musubi moves them by their places in the modules.
    """
    if args.compile:
        raise Unsupported("--compile, which this path does for itself")
    if args.gradient_checkpointing_cpu_offload:
        raise Unsupported("--gradient_checkpointing_cpu_offload")
    half = HALVES.get(accelerator.mixed_precision)
    fp8 = _results(half or torch.float32, accelerator.device) if args.speed == "max" else None
    return make_fast(
        accelerator.unwrap_model(transformer),
        accelerator.unwrap_model(network),
        compiled=accelerator.device.type == "cuda",
        checkpointing=args.gradient_checkpointing,
        share=args.activation_budget,
        in_blocks=not args.blocks_to_swap,
        weights_in=half if args.weights_cast_once and not args.blocks_to_swap and fp8 is None else None,
        fp8_results=fp8,
        transposed=bool(args.weights_cast_once and not args.blocks_to_swap and fp8 is not None),
    )


def _results(kind: torch.dtype, device: torch.device) -> torch.dtype:
    results = results_of(kind, device)
    if results is not None:
        return results
    if device.type != "cuda":
        raise NoFp8(f"torch {torch.__version__} on this processor")
    major, minor = torch.cuda.get_device_capability(device)
    raise NoFp8(f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor} where 8.9 is needed")
