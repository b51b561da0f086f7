"""What a finished run says at its end."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.plan.build import Prepared


def summary(prepared: Prepared) -> Iterator[str]:
    """Where the LoRA files are."""
    plan = prepared.plan
    for step in plan.steps:
        if step.id.startswith("train"):
            for path in step.writes:
                yield f"{step.id}: {path} ({_size(path.stat().st_size)})"
    if plan.rehearsal:
        yield "This was a rehearsal: nothing was trained, and the files hold no LoRA."


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"
