"""Memory that a training of the 14B expert would take, to the eye: what a rehearsal reports as measured."""

from __future__ import annotations

from argparse import Namespace

_WEIGHTS = 14_288_901_184
"""Of one expert."""
_BLOCKS = 40
_ACTIVATIONS = 4 * 2**30
_KEEPABLE = 15 * 2**30
"""By `--activation_budget`, of stills."""
_RESERVED = 1.06


def weights_bytes(args: Namespace, dit_dtype: str) -> int:
    """The expert's weights on the GPU."""
    each = 4 if dit_dtype == "float32" else 2
    resident = 1 - (args.blocks_to_swap or 0) / _BLOCKS
    return int(_WEIGHTS * (1 if args.fp8_base else each) * resident)


def loading(args: Namespace, dit_dtype: str) -> dict[str, int]:
    """The fields of weights-loaded."""
    allocated = weights_bytes(args, dit_dtype)
    return {"ram_peak": 6 * 2**30, "gpu_peak": allocated + 2**29, "gpu_allocated": allocated}


def training(args: Namespace, dit_dtype: str) -> dict[str, int]:
    """The fields of train-step."""
    peak = weights_bytes(args, dit_dtype) + _ACTIVATIONS
    if getattr(args, "speed", "reference") != "reference":
        peak += int(args.activation_budget * _KEEPABLE) if args.gradient_checkpointing else 2 * _KEEPABLE
    return {"gpu_peak": peak, "gpu_reserved": int(peak * _RESERVED)}
