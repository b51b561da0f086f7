"""The average of the LoRA over the steps of its training (EMA)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Average:
    """A float32 copy of the parameters that follows them slowly, on their device.

    `decay` is what stays of the copy in each step; in the first steps less stays, or the untrained LoRA would weigh
    too long: min(decay, (1 + step) / (10 + step)).
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self._average = [parameter.detach().to(torch.float32, copy=True) for parameter in self._parameters]

    def update(self, step: int) -> None:
        """Follow the parameters as they are after the optimizer step of this number, the first being 1."""
        stays = min(self._decay, (1 + step) / (10 + step))
        now = [parameter.detach().to(torch.float32) for parameter in self._parameters]
        torch._foreach_lerp_(self._average, now, 1 - stays)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters hold the averages, and afterwards, bit for bit, what they held before."""
        own = [parameter.detach().clone() for parameter in self._parameters]
        self._put(self._average)
        try:
            yield
        finally:
            self._put(own)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError where the averages are those of another LoRA."""
        found = state["average"]
        if [tensor.shape for tensor in found] != [tensor.shape for tensor in self._average]:
            raise ValueError("the averaged LoRA in the state has other parameters than the LoRA in training")
        torch._foreach_copy_(self._average, found)

    def _put(self, values: list[torch.Tensor]) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self._parameters, values)
