"""What a check came to, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass

from wan22lora.check.forecast import Forecast
from wan22lora.check.remark import Remark
from wan22lora.dataset.scan import Scan


@dataclass(frozen=True)
class Checked:
    title: str
    """The run's name, or the folder's."""
    scans: tuple[Scan, ...]
    trained: tuple[Scan, ...]
    """The datasets without what is held out."""
    remarks: tuple[Remark, ...]
    """Worst first."""
    forecast: Forecast
