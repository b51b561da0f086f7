"""Adam's update as one kernel of the GPU, which leaves itself out where a gradient is no finite number.

As musubi has it, the process waits for the loss and then for the gradients' check, and only then sends the update's
many small operations and the beginning of the next step: meanwhile an H200 does nothing, 25 ms of each step. Fused,
nothing need be waited for before the update, or before the next step (outcomes.py).
"""

from __future__ import annotations

from typing import Any

import torch

ASKED_FOR = ("fused", "foreach", "capturable", "differentiable", "amsgrad", "maximize")
"""Options of the optimizer: where one is given, it is the user's choice how it updates."""


def can_fuse(optimizer: Any) -> bool:
    """Whether `optimizer`, torch's own and not accelerate's around it, is one that can be fused, as musubi made it."""
    if type(optimizer) not in (torch.optim.AdamW, torch.optim.Adam):
        return False
    return not any(group.get(name) for group in optimizer.param_groups for name in ASKED_FOR)


def fuse(optimizer: Any, fused: bool) -> None:
    """Has an optimizer that can be fused update that way, or as musubi made it. Belongs after loading its state, too.

    What it holds is the same; the numbers of steps lie beside the weights where it is fused, else in RAM.
    """
    optimizer._step_supports_amp_scaling = fused  # torch.amp.GradScaler goes by it
    for group in optimizer.param_groups:
        group["fused"] = fused or None
        for parameter in group["params"]:
            if state := optimizer.state.get(parameter):
                state["step"] = state["step"].to(parameter.device if fused else "cpu")


def update_where_finite(accelerated: Any, finite: torch.Tensor) -> None:
    """A step of a fused optimizer without a gradient scaler; nothing changes where `finite` is false."""
    optimizer = accelerated.optimizer
    optimizer.grad_scale, optimizer.found_inf = None, (~finite).float()
    try:
        accelerated.step()
    finally:
        del optimizer.grad_scale, optimizer.found_inf
