"""One block of Wan as a function of tensors alone, so that one compilation serves all blocks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from .products import Product, multiply
from .rotation import Rotation, rotate


class Attention(NamedTuple):
    """Inputs are products of their own, or share one where they multiply the same."""

    inputs: tuple[Product, ...]
    """That make q, k and v, in this order."""
    o: Product
    norm_q: torch.Tensor | None
    norm_k: torch.Tensor | None


class Weights(NamedTuple):
    """The weights of one block, frozen ones and LoRA."""

    modulation: torch.Tensor
    self_attention: Attention
    cross_attention: Attention
    norm3: tuple[torch.Tensor, torch.Tensor] | None
    ffn_in: Product
    ffn_out: Product


class Sizes(NamedTuple):
    """What a block is besides its weights."""

    heads: int
    eps: float
    attention_type: torch.dtype | None = torch.bfloat16
    """The type that attention is computed in when the block computes in float32, as musubi has it."""


def compute(
    x: torch.Tensor, e: torch.Tensor, context: torch.Tensor, rotation: Rotation, weights: Weights, sizes: Sizes
) -> torch.Tensor:
    """What WanAttentionBlock computes (wan/modules/model.py:403-459 at v0.3.4), cast for cast.

    x is [batch, tokens, channels], e the timestep's part of the modulation, [batch, 6, channels] in float32, and
    context the caption, [batch, words, channels]. All products are in x's type.
    """
    shift1, scale1, gate1, shift2, scale2, gate2 = (weights.modulation.float() + e).unsqueeze(2).unbind(1)

    modulated = torch.addcmul(shift1, _normalize(x, sizes).float(), 1 + scale1).to(x.dtype)
    y = _self_attention(modulated, rotation, weights.self_attention, sizes)
    x = torch.addcmul(x, y.float(), gate1).to(x.dtype)

    normalized = x if weights.norm3 is None else _normalize(x, sizes, *weights.norm3)
    x = x + _cross_attention(normalized, context, weights.cross_attention, sizes)

    modulated = torch.addcmul(shift2, _normalize(x, sizes).float(), 1 + scale2).to(x.dtype)
    (inner,) = multiply(modulated, weights.ffn_in)
    (y,) = multiply(gelu(inner, approximate="tanh"), weights.ffn_out)
    return torch.addcmul(x, y.float(), gate2).to(x.dtype)


def _self_attention(x: torch.Tensor, rotation: Rotation, weights: Attention, sizes: Sizes) -> torch.Tensor:
    q, k, v = (each for product in weights.inputs for each in multiply(x, product))
    q = rotate(_heads(_root_mean_square(q, weights.norm_q, sizes), sizes), rotation)
    k = rotate(_heads(_root_mean_square(k, weights.norm_k, sizes), sizes), rotation)
    (y,) = multiply(_attend(q, k, _heads(v, sizes), sizes), weights.o)
    return y


def _cross_attention(x: torch.Tensor, context: torch.Tensor, weights: Attention, sizes: Sizes) -> torch.Tensor:
    (q,) = multiply(x, weights.inputs[0])
    k, v = (each for product in weights.inputs[1:] for each in multiply(context, product))
    q = _heads(_root_mean_square(q, weights.norm_q, sizes), sizes)
    k = _heads(_root_mean_square(k, weights.norm_k, sizes), sizes)
    (y,) = multiply(_attend(q, k, _heads(v, sizes), sizes), weights.o)
    return y


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    """[batch, tokens, heads, head] in, [batch, tokens, channels] out."""
    kind = q.dtype
    used = (sizes.attention_type or kind) if kind == torch.float32 else kind
    q, k, v = (each.transpose(1, 2).to(used) for each in (q, k, v))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).to(kind)


def _heads(x: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    return x.unflatten(2, (sizes.heads, -1))


def _normalize(
    x: torch.Tensor, sizes: Sizes, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None
) -> torch.Tensor:
    weight = None if weight is None else weight.float()
    bias = None if bias is None else bias.float()
    return layer_norm(x.float(), x.shape[-1:], weight, bias, sizes.eps).to(x.dtype)


def _root_mean_square(x: torch.Tensor, weight: torch.Tensor | None, sizes: Sizes) -> torch.Tensor:
    if weight is None:
        return x
    whole = x.float()
    whole = whole * torch.rsqrt(whole.pow(2).mean(dim=-1, keepdim=True) + sizes.eps)
    return whole.to(x.dtype) * weight.to(x.dtype)
