"""The update of a LoRA by an optimizer step, left out where a number that is none would ruin the weights for good."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .parts import Parts
from .stepping import can_fuse, fuse, update_where_finite


@dataclass(frozen=True)
class Updated:
    """What came of an optimizer step."""

    losses: list[float]
    """Of each batch that is part of it."""
    preservation: list[float]
    skipped: bool
    """Whether nothing was learned."""
    not_finite: str = ""
    """What was no finite number, in words; a scaler that tries a smaller scale next is no reason."""


class Updates:
    """Moves the weights of a training, by a fused optimizer where `speed` and the optimizer allow it."""

    def __init__(self, parts: Parts, *, alone: bool) -> None:
        """`alone`: whether one process trains; several wait for each other's gradients anyway."""
        self._parts, self._args, self._accelerator, self._lora = parts, parts.args, parts.accelerator, parts.lora
        self._fusible = can_fuse(parts.optimizer.optimizer)
        self._fused = self._fusible and self._args.speed != "reference" and alone
        self._scale = 0.0
        """Of the gradients in fp16, after the last step."""

    @property
    def may_wait(self) -> bool:
        """Whether what came of a step may be looked at when the gradients of the next one are under way.

        Not where something follows an update that must know of it: musubi's limit on the LoRA's norms, the counting of
        an accumulation, and blocks that go back and forth between the GPU and RAM.
        """
        args = self._args
        return self._fused and not (
            args.scale_weight_norms or args.blocks_to_swap or args.gradient_accumulation_steps > 1
        )

    def begin(self) -> None:
        """Belongs after a state is loaded."""
        if self._fusible:
            fuse(self._parts.optimizer.optimizer, self._fused)
        self._scale = self._accelerator.scaler.get_scale() if self._accelerator.scaler is not None else 0.0

    def send(self, losses: list[torch.Tensor], preservation: list[torch.Tensor]) -> Callable[[], Updated]:
        """One optimizer step with the gradients that are there, which are gone afterwards.

        What is returned waits for the GPU, moves the schedule and tells what came of the step. It belongs before the
        next step is sent.
        """
        look = self._send_at_once(losses, preservation) if self._fused else self._after_looking(losses, preservation)
        self._parts.optimizer.zero_grad(set_to_none=True)
        limit = self._args.scale_weight_norms
        if not limit:
            return look
        done = look()
        if not done.not_finite:
            self._lora.apply_max_norm_regularization(limit, self._accelerator.device)
        return lambda: done

    def _after_looking(
        self, loss_tensors: list[torch.Tensor], preservation_tensors: list[torch.Tensor]
    ) -> Callable[[], Updated]:
        parts = self._parts
        losses, preservation = numbers(loss_tensors), numbers(preservation_tensors)
        skipped, not_finite = True, ""
        if not all(map(math.isfinite, (*losses, *preservation))):
            not_finite = "the loss"
        elif not self._clip_gradients():
            not_finite = "a gradient"
        else:
            parts.optimizer.step()
            parts.lr_scheduler.step()
            skipped = bool(self._accelerator.optimizer_step_was_skipped)
        done = Updated(losses, preservation, skipped, not_finite)
        return lambda: done

    def _send_at_once(
        self, loss_tensors: list[torch.Tensor], preservation_tensors: list[torch.Tensor]
    ) -> Callable[[], Updated]:
        """The same by a fused optimizer: nothing waits for the GPU before everything is sent to it."""
        parts, scaler = self._parts, self._accelerator.scaler
        finite = self._clip_gradients()
        if scaler is not None:
            parts.optimizer.step()  # the scaler tells a fused optimizer where a gradient is not finite
        else:
            finite &= torch.stack([*loss_tensors, *preservation_tensors]).isfinite().all()
            update_where_finite(parts.optimizer, finite)
        scale = finite.new_zeros((), dtype=torch.float32) if scaler is None else scaler._scale
        read = _reading([*loss_tensors, *preservation_tensors, finite, scale])

        def look() -> Updated:
            *told, finite, scale = read()
            losses, preservation = told[: len(loss_tensors)], told[len(loss_tensors) :]
            not_finite = ""
            if not all(map(math.isfinite, told)):
                not_finite = "the loss"
            elif not finite:
                not_finite = "a gradient"
            before, self._scale = self._scale, scale
            skipped = bool(not_finite) or scale < before  # accelerate cannot tell with a fused optimizer
            if not skipped:
                parts.lr_scheduler.step()
            return Updated(losses, preservation, skipped, not_finite)

        return look

    def _clip_gradients(self) -> torch.Tensor:
        """Whether they are finite numbers; the scaler of fp16 looks after that by itself."""
        limit, parameters = self._args.max_grad_norm, list(self._lora.get_trainable_params())
        norm = self._accelerator.clip_grad_norm_(parameters, limit) if limit != 0.0 else None
        if self._accelerator.scaler is not None:
            return torch.ones((), dtype=torch.bool, device=self._accelerator.device)
        if norm is None:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            norm = torch.stack(torch._foreach_norm(gradients)).sum()
        return torch.isfinite(norm)


def numbers(losses: list[torch.Tensor]) -> list[float]:
    """In one read from the GPU."""
    read: list[float] = torch.stack([each.float() for each in losses]).tolist() if losses else []
    return read


def _reading(scalars: list[torch.Tensor]) -> Callable[[], list[float]]:
    """Has the numbers copied into RAM as soon as they are there; what is returned waits for that alone."""
    copied = torch.stack([each.float() for each in scalars]).to("cpu", non_blocking=True)
    if not scalars[0].is_cuda:
        return copied.tolist
    there = torch.cuda.Event()
    there.record()

    def read() -> list[float]:
        there.synchronize()
        told: list[float] = copied.tolist()
        return told

    return read
