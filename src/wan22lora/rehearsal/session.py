"""What one stand-in process knows beside its options: the pin, its console, its faults and its pace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wan22lora.musubi.pins import DEFAULT, pin_named
from wan22lora.rehearsal.console import Console
from wan22lora.rehearsal.faults import Faults

_STEP_SECONDS = 0.0002
MARK = {"wan22lora_rehearsal": "nothing was trained"}
"""Metadata of every file that a stand-in writes."""


@dataclass(frozen=True)
class Session:
    pin: str
    """Name of the revision of musubi-tuner that is imitated, from WAN22LORA_PIN."""
    console: Console
    faults: Faults
    step_seconds: float
    """Time that one step or one encoded batch takes, from WAN22LORA_REHEARSAL_STEP_SECONDS."""

    @staticmethod
    def from_environment(program: str) -> Session:
        """Raises SystemExit for a pin, pace or fault that does not exist."""
        try:
            pin = pin_named(os.environ.get("WAN22LORA_PIN", DEFAULT.name)).name
        except ValueError as problem:
            raise SystemExit(f"WAN22LORA_PIN: {problem}") from None
        pace = os.environ.get("WAN22LORA_REHEARSAL_STEP_SECONDS", _STEP_SECONDS)
        try:
            seconds = float(pace)
        except ValueError:
            raise SystemExit(f"WAN22LORA_REHEARSAL_STEP_SECONDS: {pace!r} is not a number") from None
        return Session(pin, Console(pin), Faults.from_environment(program), seconds)

    def expect_weights(self, path: str, purpose: str) -> None:
        """Say so when a model file is missing: a rehearsal needs none, the run it stands for does."""
        if not Path(path).exists():
            self.console.rehearsal(f"{purpose} {path} is not there; a real run would stop here")
