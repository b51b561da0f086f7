"""What the processes of one training do alike. With a single process nothing is exchanged and nothing changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as distributed


@dataclass(frozen=True)
class Agreed:
    """What came out of one optimizer step over all processes."""

    losses: list[float]
    """Of each batch of the step the mean over the processes; no number where it is none in one of them."""
    preservation: list[float]
    samples: int
    """Of all processes."""
    stop: int
    """The signal that one of them got; 0 for none."""
    save: bool
    """The first process wants a state."""


def alone(accelerator: Any) -> None:
    """Keeps accelerate from wrapping the models for torch's own reduction of gradients.

    That begins in the forward pass of the wrapper, which a LoRA does not have; it would only hold buffers of the
    LoRA's size, and refuses the frozen model on a CPU.
    """
    accelerator.prepare_model = partial(accelerator.prepare_model, evaluation_mode=True)


class Together:
    """The processes of a training, as each of them sees them."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.count: int = accelerator.num_processes
        self.index: int = accelerator.process_index

    @property
    def several(self) -> bool:
        return self.count > 1

    @property
    def first(self) -> bool:
        """Whether this process writes events, checkpoints and states."""
        return self.index == 0

    def share(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Gives every process the first one's parameters."""
        for parameter in parameters if self.several else ():
            distributed.broadcast(parameter.data, 0)

    def average(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Gives every process the mean of all processes' gradients.

        musubi does so by hand too (training/trainer_base.py:2057-2062 at v0.3.4).
        """
        if not self.several:
            return
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters]
        for handle in [distributed.all_reduce(gradient, async_op=True) for gradient in gradients]:
            handle.wait()
        torch._foreach_div_(gradients, self.count)

    def agree(
        self, losses: Sequence[float], preservation: Sequence[float], samples: int, *, stop: int, save: bool
    ) -> Agreed:
        """All processes call it in the same step, with as many losses each."""
        own = torch.tensor([*losses, *preservation, samples, stop, save], dtype=torch.float64)
        own = own.to(self._accelerator.device)
        gathered = [torch.empty_like(own) for _ in range(self.count)]
        distributed.all_gather(gathered, own)
        told = torch.stack(gathered).cpu()
        means = told[:, :-3].mean(dim=0).tolist()
        return Agreed(
            means[: len(losses)],
            means[len(losses) :],
            int(told[:, -3].sum()),
            int(told[:, -2].max()),
            bool(told[0, -1]),
        )

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in their order; all processes call it."""
        if not self.several:
            return [value]
        gathered: list[Any] = [None] * self.count
        distributed.all_gather_object(gathered, value)
        return gathered

    def wait(self) -> None:
        """Until all processes are here."""
        if self.several:
            self._accelerator.wait_for_everyone()
