"""What the next step needs before its first product, made while the GPU still computes the step before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Ahead:
    """A second queue of the GPU for small work that would wait for all that was sent before it.

    Copies from RAM do, and so does musubi's choice of timesteps, which looks at each that it draws
    (training/trainer_base.py:681-694 at v0.3.4). The random numbers are those of a single queue: their generator counts
    in the order in which numbers are asked for.
    """

    def __init__(self, device: torch.device, *, used: bool) -> None:
        self._queue = torch.cuda.Stream(device) if used and device.type == "cuda" else None

    @contextmanager
    def beside(self) -> Iterator[None]:
        """What is sent to the GPU here does not wait for what was sent before, and so must not read it."""
        if self._queue is None:
            yield
            return
        with torch.cuda.stream(self._queue):
            yield

    def hand_over(self, *made: Any) -> None:
        """Lets what follows use what was made beside it: tensors, and lists and dicts of them."""
        if self._queue is None:
            return
        using = torch.cuda.current_stream(self._queue.device)
        using.wait_stream(self._queue)
        for tensor in _tensors(made):
            tensor.record_stream(using)


def _tensors(made: Any) -> Iterator[torch.Tensor]:
    if isinstance(made, torch.Tensor):
        if made.is_cuda:
            yield made
    elif isinstance(made, dict):
        yield from _tensors(list(made.values()))
    elif isinstance(made, list | tuple):
        for each in made:
            yield from _tensors(each)
