"""Products with frozen weights, and the LoRA beside them, as one operation.

musubi's LoRA takes five passes over results of megabytes: the frozen product, the product with `up`, its scaling, the
sum, and as many backward. Here the products with `up` and, backward, with `down` are added by the matrix units to what
is there already.
"""

from __future__ import annotations

from typing import Any

import torch

from .operations import differentiate, operation


def _shape_of_y(x: torch.Tensor, *given: Any) -> torch.Tensor:
    return x.new_empty(x.shape[0], given[4].shape[0])


@operation(_shape_of_y)
def with_lora(
    x: torch.Tensor,
    narrow: torch.Tensor,
    down: torch.Tensor,  # noqa: ARG001
    up: torch.Tensor,
    strength: float,
    weight: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:
    """x W^T + bias + strength * narrow up^T for each layer.

    x is [rows, in], narrow = x down^T [rows, layers * rank], weight [layers * out, in] and up [layers, out, rank]. The
    gradients of x and down are this operation's too, so narrow is to be made of them detached.
    """
    return add_up(torch.addmm(bias, x, weight.t()), narrow, up, strength)


def add_up(y: torch.Tensor, narrow: torch.Tensor, up: torch.Tensor, strength: float) -> torch.Tensor:
    """Adds strength * narrow up^T to y in its place."""
    layers = up.shape[0]
    if layers == 1:  # most are; a GPU waits for each view that Python makes
        return y.addmm_(narrow, up[0].t(), alpha=strength)
    for part, inner, own in zip(y.chunk(layers, 1), narrow.chunk(layers, 1), up.unbind(), strict=True):
        part.addmm_(inner, own.t(), alpha=strength)
    return y


def _shapes_of_gradients(
    gradient: torch.Tensor,  # noqa: ARG001
    narrow: torch.Tensor,
    up: torch.Tensor,
    strength: float,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(narrow), torch.empty_like(up)


@operation(_shapes_of_gradients)
def up_backward(
    gradient: torch.Tensor, narrow: torch.Tensor, up: torch.Tensor, strength: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of narrow and up."""
    layers = up.shape[0]
    if layers == 1:
        of_narrow, of_up = torch.mm(gradient, up[0]), torch.mm(gradient.t(), narrow).unsqueeze(0)
    else:
        of_narrow, of_up = torch.empty_like(narrow), torch.empty_like(up)
        for part, into, inner, own, of_own in zip(
            gradient.chunk(layers, 1),
            of_narrow.chunk(layers, 1),
            narrow.chunk(layers, 1),
            up.unbind(),
            of_up.unbind(),
            strict=True,
        ):
            torch.mm(part, own, out=into)
            torch.mm(part.t(), inner, out=of_own)
    if strength != 1.0:
        of_narrow *= strength
        of_up *= strength
    return of_narrow, of_up


def _shape_of_gradient(gradient: torch.Tensor, weight: torch.Tensor, *_: object) -> torch.Tensor:
    return gradient.new_empty(gradient.shape[0], weight.shape[1])


@operation(_shape_of_gradient)
def x_backward(
    gradient: torch.Tensor, weight: torch.Tensor, of_narrow: torch.Tensor, down: torch.Tensor
) -> torch.Tensor:
    """The gradient of x: of the frozen product and of the LoRA's."""
    return torch.mm(gradient, weight).addmm_(of_narrow, down)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG001
    x, narrow, down, up, ctx.strength, weight, _ = inputs
    ctx.save_for_backward(x, narrow, down, up, weight)


def _differentiate(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, narrow, down, up, weight = ctx.saved_tensors
    of_narrow, of_up = up_backward(gradient, narrow, up, ctx.strength)
    of_x = x_backward(gradient, weight, of_narrow, down) if ctx.needs_input_grad[0] else None
    return of_x, None, torch.mm(of_narrow.t(), x), of_up, None, None, None


differentiate("with_lora", _differentiate, _keep)
