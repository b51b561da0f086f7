"""What machine.yaml says before a setup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wan22lora.machine import settings as machine_settings


@dataclass(frozen=True)
class Recorded:
    """machine.yaml, by itself: without what the command line and the environment say."""

    file: Path
    settings: Mapping[str, Path]


def recorded() -> Recorded:
    """Raises SpecError for a machine.yaml that cannot be used."""
    file = machine_settings.settings_path()
    return Recorded(file, machine_settings.read_settings(file))
