"""Rotary position embedding in real float32 numbers.

musubi multiplies complex128 numbers (wan/modules/model.py:107-128 at v0.3.4): compilers do not take those, and consumer
GPUs compute them at a sixty-fourth of their speed. The angles still come from musubi's float64 table.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Rotation(NamedTuple):
    """How far the pairs of each token turn: cosines and sines, [1 or batch, tokens, 1, half of a head] in float32."""

    cos: torch.Tensor
    sin: torch.Tensor


def rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Turns neighbouring pairs of x [batch, tokens, heads, head]; in x's type."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)


class Rotations:
    """Rotations for musubi's lists of complex numbers, made once for each shape of a picture or clip."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[list[torch.Tensor], Rotation]] = {}

    def of(self, turns: list[torch.Tensor]) -> Rotation:
        """For the list that WanModel.forward hands to its blocks: for each sample complex numbers [tokens, 1, pairs].

        WanModel keeps one tensor for each shape (model.py:850-858), so that the tensor itself names the shape.
        """
        same = all(each is turns[0] for each in turns)
        made_from = turns[:1] if same else turns
        key = tuple(map(id, made_from))
        if key not in self._known:
            stacked = torch.view_as_real(torch.stack(made_from)).float()
            rotation = Rotation(*(part.contiguous() for part in stacked.unbind(-1)))
            self._known[key] = (list(made_from), rotation)  # kept alive, or another tensor could take the id
        return self._known[key][1]
