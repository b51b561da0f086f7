"""Why a training ends before its end, told so that the command line can pass it on."""

from __future__ import annotations


class TrainingFailed(Exception):
    """The training cannot go on; `reason` is one of nan, out-of-memory, disk-full, wrong-musubi, not-fast,
    error."""

    def __init__(self, reason: str, text: str, fix: str = "") -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.fix = fix


class TrainingStopped(Exception):
    """A signal asked for the end, and everything that should be kept is on disk."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal
