"""What a block multiplies with, and how: in the type of the block, or in 8 bits."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .fp8 import fp8_with_lora, quantise
from .lora import with_lora


class Fp8(NamedTuple):
    """What a product in 8 bits needs besides the weight in e4m3."""

    scale: torch.Tensor
    """Of each row of the weight, [out] in float32."""
    transposed: torch.Tensor
    """The weight lying column by column, [in, out], or empty: then it is made for each use."""
    results: torch.dtype
    """The type that the product comes in."""


class Product(NamedTuple):
    """A linear layer and its LoRA, or several side by side that multiply the same input.

    Parameters, not copies: they train, and blocks may be swapped.
    """

    weight: torch.Tensor
    """[out, in]; of several layers one below the other."""
    biases: tuple[torch.Tensor, ...]
    weight_scale: torch.Tensor | None = None
    """Of weights in fp8 that have a scale for each tensor, row or group of columns; not of those with `fp8`."""
    fp8: Fp8 | None = None
    downs: tuple[torch.Tensor, ...] = ()
    ups: tuple[torch.Tensor, ...] = ()
    """Of each layer in turn; nothing where there is no LoRA."""
    strength: float = 0.0
    """What the LoRA's own product is multiplied with: alpha / rank, times the multiplier."""


def multiply(x: torch.Tensor, product: Product) -> tuple[torch.Tensor, ...]:
    """For x [batch, tokens, in] what each layer makes of it, in x's type.

    Weights are cast for their use, as autocast casts them, so that no copy need be kept for the backward pass.
    """
    rows, kind = x.flatten(0, 1), x.dtype
    bias = torch.cat([each.to(kind) for each in product.biases])
    if not product.downs and product.fp8 is None:
        y = torch.addmm(bias, rows, _weight(product, kind).t())
        return y.unflatten(0, x.shape[:2]).chunk(len(product.biases), dim=-1)
    if product.downs:
        down = torch.cat([each.to(kind) for each in product.downs])
        up = torch.stack([each.to(kind) for each in product.ups])
    else:  # a LoRA of rank 0
        down, up = rows.new_empty(0, rows.shape[1]), rows.new_empty(1, len(bias), 0)
    narrow = torch.mm(rows.detach(), down.detach().t())
    lora = (rows, narrow, down, up, product.strength)
    if product.fp8 is None:
        y = with_lora(*lora, _weight(product, kind), bias)
    else:
        y = fp8_with_lora(*lora, *quantise(rows.detach()), product.weight, *product.fp8[:2], bias, product.fp8.results)
    return y.unflatten(0, x.shape[:2]).chunk(len(product.biases), dim=-1)


def _weight(product: Product, dtype: torch.dtype) -> torch.Tensor:
    """The weight as musubi multiplies with it (modules/fp8_optimization_utils.py:416-427 for scaled ones)."""
    weight, scale = product.weight, product.weight_scale
    if scale is None:
        return weight.to(dtype)
    whole = weight.to(scale.dtype)
    if scale.dim() < 3:
        return (whole * scale).to(dtype)
    groups = whole.unflatten(1, (scale.shape[1], -1))
    return (groups * scale).flatten(1).to(dtype)
