"""Products with frozen weights in 8 bits, for `speed: max`: e4m3 times e4m3, added up by the matrix units.

Activations and gradients are quantised as they come, each row to the whole range of e4m3; weights have a scale for each
row. The quantisation is written in plain operations, so that a compiler makes it part of the kernel that makes the
numbers. The LoRA's own products stay in the block's type.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from .lora import add_up, up_backward
from .operations import differentiate, operation

E4M3 = torch.float8_e4m3fn
MOST = 448.0
"""The largest number of e4m3."""
LEAST = 1e-12
"""Of a scale: rows may be all zeros."""


def quantise(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[rows, columns] → the numbers in e4m3 and the scale of each row, [rows, 1] in float32."""
    whole = rows.float()
    scale = (whole.abs().amax(1, keepdim=True) / MOST).clamp_min(LEAST)
    return (whole / scale).to(E4M3), scale


def _shape_of_y(x: torch.Tensor, *given: Any) -> torch.Tensor:
    return x.new_empty(x.shape[0], given[6].shape[0])


@operation(_shape_of_y)
def fp8_with_lora(
    x: torch.Tensor,
    narrow: torch.Tensor,
    down: torch.Tensor,  # noqa: ARG001
    up: torch.Tensor,
    strength: float,
    numbers: torch.Tensor,
    scale: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    transposed: torch.Tensor,  # noqa: ARG001
    bias: torch.Tensor,
    results: torch.dtype,
) -> torch.Tensor:
    """As lora.with_lora, with x W^T by way of `numbers` and `scale`, what `quantise` makes of x.

    weight [layers * out, in] is in e4m3, its scale [layers * out] in float32; `transposed` is its copy [in, layers *
    out], or empty, then one is made for each use. `results` is the type that the product comes in.
    """
    y = _product(numbers, weight.t(), scale, weight_scale.unsqueeze(0), bias, results)
    return add_up(y.to(x.dtype), narrow, up, strength)


def _shape_of_gradient(numbers: torch.Tensor, scale: Any, transposed: torch.Tensor, *given: Any) -> torch.Tensor:  # noqa: ARG001
    return given[1].new_empty(numbers.shape[0], transposed.shape[0])


@operation(_shape_of_gradient)
def fp8_x_backward(
    numbers: torch.Tensor,
    scale: torch.Tensor,
    transposed: torch.Tensor,
    of_narrow: torch.Tensor,
    down: torch.Tensor,
    results: torch.dtype,
) -> torch.Tensor:
    """The gradient of x: of the frozen product, by way of the quantised gradient of y, and of the LoRA's."""
    of_x = _product(numbers, transposed.t(), scale, _ones(transposed.shape[0], scale.device), None, results)
    return of_x.to(down.dtype).addmm_(of_narrow, down)


@cache
def _ones(columns: int, device: torch.device) -> torch.Tensor:
    """Scales that change nothing, [1, columns]."""
    return torch.ones(1, columns, device=device)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG001
    x, narrow, down, up, ctx.strength, _, _, weight, weight_scale, transposed, _, ctx.results = inputs
    ctx.save_for_backward(x, narrow, down, up, weight, weight_scale, transposed)


def _differentiate(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, narrow, down, up, weight, weight_scale, transposed = ctx.saved_tensors
    of_narrow, of_up = up_backward(gradient, narrow, up, ctx.strength)
    of_x = None
    if ctx.needs_input_grad[0]:
        numbers, scale = quantise(gradient * weight_scale)  # a scale for each row of W is one for each column here
        if not transposed.numel():
            transposed = weight.t().contiguous()  # Hopper multiplies what lies along the added numbers
        of_x = fp8_x_backward(numbers, scale, transposed, of_narrow, down, ctx.results)
    return of_x, None, torch.mm(of_narrow.t(), x), of_up, *(None,) * 8


differentiate("fp8_with_lora", _differentiate, _keep)


def results_of(kind: torch.dtype, device: torch.device) -> torch.dtype | None:
    """The type in which this device's products of 8-bit numbers can come for a block that computes in `kind`.

    None where it has no such products. Which types there are changed from release to release of torch.
    """
    a, scale = torch.ones(16, 16, device=device).to(E4M3), torch.ones(16, 1, device=device)
    for results in dict.fromkeys((kind, torch.bfloat16)):
        try:
            _product(a, a.t(), scale, scale.t(), torch.zeros(16, device=device, dtype=kind), results)
        except (RuntimeError, ValueError, NotImplementedError):
            continue
        return results
    return None


def _product(
    a: torch.Tensor,
    b: torch.Tensor,
    a_scale: torch.Tensor,
    b_scale: torch.Tensor,
    bias: torch.Tensor | None,
    results: torch.dtype,
) -> torch.Tensor:
    """a [rows, in] times b [in, out], which lies column by column, + bias; scales are [rows, 1] and [1, out]."""
    if bias is not None and (bias.dtype != results or results == torch.float32):
        return _product(a, b, a_scale, b_scale, None, results) + bias
    # Without fast accumulation an H200 takes a fifth longer, and gradients come out no nearer to those of 16 bits.
    return torch._scaled_mm(a, b, scale_a=a_scale, scale_b=b_scale, bias=bias, out_dtype=results, use_fast_accum=True)
