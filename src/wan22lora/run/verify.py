"""Whether a step left what it promised: every file there, whole, and of the right kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wan22lora.errors import Finding
from wan22lora.musubi.safetensors import NotSafetensors, read_header
from wan22lora.plan.model import Step
from wan22lora.plan.states import KEY_FILE


def verify(step: Step) -> Iterator[Finding]:
    """What is missing or wrong of the files that the step promised."""
    is_training = not step.id.startswith("cache-")
    missing = [path for path in step.writes if not path.exists()]
    for path in step.writes:
        if path in missing:
            continue
        try:
            header = read_header(path)
        except (NotSafetensors, OSError) as error:
            yield Finding(str(path), f"is not a whole safetensors file: {error}")
            continue
        if step.states is not None and path.stat().st_mtime_ns < _begun(step.states):
            yield Finding(str(path), "was not written: it is the result of an earlier training")
            continue
        if is_training and not any(name.endswith(".lora_down.weight") for name in header.tensors):
            yield Finding(str(path), "holds no LoRA weights")
    if missing:
        shown = ", ".join(path.name for path in missing[:5]) + (" …" if len(missing) > 5 else "")
        yield Finding(str(missing[0].parent), f"{len(missing)} promised files are missing: {shown}")


def _begun(states: Path) -> int:
    """When the training began: the key of its states is the last thing written before."""
    try:
        return (states / KEY_FILE).stat().st_mtime_ns
    except OSError:
        return 0
