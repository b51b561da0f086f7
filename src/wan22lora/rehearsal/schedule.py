"""The learning rate over a training, as musubi's schedules draw it (TB:279-429), to the eye.

Restarts, decay of its own and classes that `--lr_scheduler_type` names are drawn as a constant after the warm-up.
"""

from __future__ import annotations

import math
from argparse import Namespace

_END_OF_POLYNOMIAL = 1e-7


def learning_rate(args: Namespace, step: int) -> float:
    """The rate after `step` optimizer steps. 0 where the optimizer chooses it."""
    rate: float = args.learning_rate or 0.0
    total: int = args.max_train_steps
    warmup = args.lr_warmup_steps or 0
    warmup = int(warmup * total) if isinstance(warmup, float) else warmup
    if args.lr_scheduler_type or args.optimizer_type.lower().endswith("schedulefree"):
        return rate
    if step < warmup:
        return rate * step / warmup
    left = 1 - (step - warmup) / max(total - warmup, 1)
    return rate * _share(args, max(left, 0.0)) if args.lr_scheduler != "polynomial" else _polynomial(args, rate, left)


def _share(args: Namespace, left: float) -> float:
    least: float = args.lr_scheduler_min_lr_ratio or 0.0
    wave = (1 + math.cos(math.pi * (1 - left))) / 2
    shares = {
        "linear": left,
        "cosine": wave,
        "cosine_with_min_lr": least + (1 - least) * wave,
        "rex": (least or 0.01) + (1 - (least or 0.01)) * left / (0.5 + 0.5 * left),
    }
    return shares.get(args.lr_scheduler, 1.0)


def _polynomial(args: Namespace, rate: float, left: float) -> float:
    power = float(args.lr_scheduler_power or 1)
    return float((rate - _END_OF_POLYNOMIAL) * max(left, 0.0) ** power + _END_OF_POLYNOMIAL)
