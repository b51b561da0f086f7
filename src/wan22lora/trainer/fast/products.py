"""Products with frozen weights, and the LoRA beside them, as one operation.

musubi's LoRA takes five passes over results of megabytes: the frozen product, the product with `up`, its scaling, the
sum, and as many backward. Here the product with `up` is added by the matrix units to what is there already.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class Product(NamedTuple):
    """A linear layer and its LoRA, or several side by side that multiply the same input.

    Parameters, not copies: they train, and blocks may be swapped.
    """

    weight: torch.Tensor
    """[out, in]; of several layers one below the other."""
    biases: tuple[torch.Tensor, ...]
    weight_scale: torch.Tensor | None = None
    """Of weights in fp8 that have a scale for each tensor, row or group of columns."""
    downs: tuple[torch.Tensor, ...] = ()
    ups: tuple[torch.Tensor, ...] = ()
    """Of each layer in turn; nothing where there is no LoRA."""
    strength: float = 0.0
    """What the LoRA's own product is multiplied with: alpha / rank, times the multiplier."""


def multiply(x: torch.Tensor, product: Product) -> tuple[torch.Tensor, ...]:
    """For x [batch, tokens, in] what each layer makes of it; every product is in x's type.

    Weights are cast for their use, as autocast casts them, so that no copy need be kept for the backward pass.
    """
    rows, kind = x.flatten(0, 1), x.dtype
    weight, bias = _weight(product, kind), torch.cat([each.to(kind) for each in product.biases])
    if product.downs:
        narrow = torch.mm(rows, torch.cat([each.to(kind) for each in product.downs]).t())
        up = torch.stack([each.to(kind) for each in product.ups])
        y = with_lora(rows, narrow, weight, bias, up, product.strength)
    else:
        y = torch.addmm(bias, rows, weight.t())
    return y.unflatten(0, x.shape[:2]).chunk(len(product.biases), dim=-1)


@torch.library.custom_op("wan22lora::with_lora", mutates_args=())  # type: ignore[untyped-decorator]
def with_lora(
    x: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, up: torch.Tensor, strength: float
) -> torch.Tensor:
    """x W^T + bias + strength * narrow up^T for each layer.

    x is [rows, in], narrow [rows, layers * rank], weight [layers * out, in] and up [layers, out, rank].
    """
    y = torch.addmm(bias, x, weight.t())
    for part, inner, own in zip(y.chunk(len(up), 1), narrow.chunk(len(up), 1), up, strict=True):
        part.addmm_(inner, own.t(), alpha=strength)
    return y


@with_lora.register_fake  # type: ignore[untyped-decorator]
def _shape_of_y(x: torch.Tensor, narrow: torch.Tensor, weight: torch.Tensor, *_: object) -> torch.Tensor:  # noqa: ARG001
    return x.new_empty(x.shape[0], weight.shape[0])


@torch.library.custom_op("wan22lora::up_backward", mutates_args=())  # type: ignore[untyped-decorator]
def up_backward(
    gradient: torch.Tensor, narrow: torch.Tensor, up: torch.Tensor, strength: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of narrow and up."""
    of_narrow, of_up = torch.empty_like(narrow), torch.empty_like(up)
    for part, into, inner, own, of_own in zip(
        gradient.chunk(len(up), 1),
        of_narrow.chunk(len(up), 1),
        narrow.chunk(len(up), 1),
        up,
        of_up,
        strict=True,
    ):
        torch.mm(part, own, out=into)
        torch.mm(part.t(), inner, out=of_own)
    if strength != 1.0:
        of_narrow *= strength
        of_up *= strength
    return of_narrow, of_up


@up_backward.register_fake  # type: ignore[untyped-decorator]
def _shapes_of_gradients(
    gradient: torch.Tensor,  # noqa: ARG001
    narrow: torch.Tensor,
    up: torch.Tensor,
    strength: float,  # noqa: ARG001
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(narrow), torch.empty_like(up)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG001
    _, narrow, weight, _, up, ctx.strength = inputs
    ctx.save_for_backward(narrow, weight, up)


def _differentiate(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    narrow, weight, up = ctx.saved_tensors
    of_narrow, of_up = up_backward(gradient, narrow, up, ctx.strength)
    of_x = torch.mm(gradient, weight) if ctx.needs_input_grad[0] else None
    return of_x, of_narrow, None, None, of_up, None


with_lora.register_autograd(_differentiate, setup_context=_keep)


def _weight(product: Product, dtype: torch.dtype) -> torch.Tensor:
    """The weight as musubi multiplies with it (modules/fp8_optimization_utils.py:409-420 for scaled ones)."""
    weight, scale = product.weight, product.weight_scale
    if scale is None:
        return weight.to(dtype)
    whole = weight.to(scale.dtype)
    if scale.dim() < 3:
        return (whole * scale).to(dtype)
    groups = whole.unflatten(1, (scale.shape[1], -1))
    return (groups * scale).flatten(1).to(dtype)
