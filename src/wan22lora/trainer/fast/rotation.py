"""Rotary position embedding in real float32 numbers.

musubi multiplies complex128 numbers (wan/modules/model.py:107-128 at v0.3.4): compilers do not take those, and consumer
GPUs compute them at a sixty-fourth of their speed. The angles still come from musubi's float64 table.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Rotation(NamedTuple):
    """How far the pairs of each token turn, [1 or batch, tokens, 1, head] in float32, the same for both of a pair.

    The sine of the first of a pair is negative.
    """

    cos: torch.Tensor
    sin: torch.Tensor


def rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Turns neighbouring pairs of x [batch, tokens, heads, head]; in x's type."""
    whole = x.float()
    other = whole.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(whole * rotation.cos, other, rotation.sin).to(x.dtype)


class Rotations:
    """Rotations for musubi's lists of complex numbers, made once for each shape of a picture or clip."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[list[torch.Tensor], Rotation]] = {}

    def of(self, turns: list[torch.Tensor]) -> Rotation:
        """For the list that WanModel.forward hands to its blocks: for each sample complex numbers [tokens, 1, pairs].

        WanModel keeps one tensor for each shape (model.py:832-840), so that the tensor itself names the shape.
        """
        same = all(each is turns[0] for each in turns)
        made_from = turns[:1] if same else turns
        key = tuple(map(id, made_from))
        if key not in self._known:
            turn = torch.stack(made_from)
            cos, sin = (
                torch.stack(both, -1).flatten(-2).float() for both in ((turn.real,) * 2, (-turn.imag, turn.imag))
            )
            rotation = Rotation(cos.contiguous(), sin.contiguous())
            self._known[key] = (list(made_from), rotation)  # kept alive, or another tensor could take the id
        return self._known[key][1]
