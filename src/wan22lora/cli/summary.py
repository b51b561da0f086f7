"""What a finished run says at its end."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.dataset.problems import listed
from wan22lora.plan.prepared import Prepared


def summary(prepared: Prepared) -> Iterator[str]:
    """Where the LoRA files are, and what they were not trained on."""
    plan = prepared.plan
    for step in plan.steps:
        if step.id.startswith("train"):
            for path in step.writes:
                yield f"{step.id}: {path} ({_size(path.stat().st_size)})"
    if prepared.held_out and any(step.id.startswith("train") for step in plan.steps):
        names = listed([item.path.name for item in prepared.held_out.items(prepared.scans)])
        yield f"held out for the validation: {names}"
    if plan.rehearsal:
        yield "This was a rehearsal: nothing was trained, and the files hold no LoRA."


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"
