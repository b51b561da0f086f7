"""What came of the optimizer steps: told, counted and heeded, perhaps while the GPU is at the next one already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .ema import Average
from .events import Events
from .failing import TrainingFailed
from .reporting import Reporting
from .updating import Updated


@dataclass(frozen=True)
class Sent:
    """An optimizer step that the GPU may still be at."""

    look: Callable[[], Updated]
    """Waits for it."""
    step: int
    epoch: int
    """From 1."""
    lr: float
    samples: int
    ends_epoch: bool = False


class Outcomes:
    """Knows of at most one step that nobody looked at yet."""

    def __init__(
        self, events: Events, reporting: Reporting, average: Average | None, epochs: int, most_nan_steps: int
    ) -> None:
        self._events, self._reporting, self._average = events, reporting, average
        self._epochs, self._most_nan_steps = epochs, most_nan_steps
        self._sent: Sent | None = None
        self._nan_steps = 0

    @property
    def open(self) -> bool:
        return self._sent is not None

    def expect(self, sent: Sent) -> None:
        """The one before must be settled."""
        self._sent = sent

    def settle(self) -> None:
        """Looks at the step that was sent last, if nobody did. Belongs before the next update and before all that
        uses the weights or the schedule. Raises TrainingFailed after too many steps in which nothing could be learned.
        """
        sent, self._sent = self._sent, None
        if sent is None:
            return
        done = sent.look()
        self._reporting.step(
            sent.step,
            sent.epoch,
            losses=done.losses,
            preservation=done.preservation,
            lr=sent.lr,
            samples=sent.samples,
            skipped=done.skipped,
        )
        self._nan_steps = self._nan_steps + 1 if done.not_finite else 0
        if done.not_finite:
            self._warn_of_nan(sent.step, done.not_finite)
        elif self._average is not None:
            self._average.update(sent.step)
        if sent.ends_epoch:
            self._tell_epoch(sent.epoch, sent.step)

    def end_epoch(self, epoch: int, step: int) -> None:
        """`epoch`, from 1, ends after this step; told once the step is."""
        if self._sent is not None:
            self._sent = replace(self._sent, ends_epoch=True)
        else:
            self._tell_epoch(epoch, step)

    def _tell_epoch(self, epoch: int, step: int) -> None:
        self._events.emit("epoch", epoch=epoch, of=self._epochs, step=step)

    def _warn_of_nan(self, step: int, not_finite: str) -> None:
        most = self._most_nan_steps
        text = f"{not_finite} of step {step} is no finite number; its update was left out"
        self._events.emit("warning", text=text)
        print(text, flush=True)
        if self._nan_steps >= most:
            raise TrainingFailed(
                "nan",
                f"{most} steps in a row without a finite loss and gradient, the last of them step {step}; the LoRA is"
                f" as it was after step {step - most}",
                "a lower learning_rate or max_grad_norm: 1 usually helps; NaN from the first step on comes from a"
                " damaged cache, the wrong VAE or weights of another format than mixed_precision says",
            )
