"""What a run asks for so seldom that none of it comes within the run's length."""

from __future__ import annotations

import math
from collections.abc import Iterator

from wan22lora.dataset.predict import total_steps
from wan22lora.errors import Finding
from wan22lora.spec.resolved import Expert, Spec


def never_due(spec: Spec, batches_per_epoch: int, processes: int = 1) -> Iterator[Finding]:
    """A warning for each such interval, once for both experts where they agree."""
    found = (finding for expert in spec.experts for finding in _of(expert, spec, batches_per_epoch, processes))
    yield from dict.fromkeys(found)


def _of(expert: Expert, spec: Spec, batches_per_epoch: int, processes: int) -> Iterator[Finding]:
    settings = expert.settings
    accumulation = settings.gradient_accumulation or 1
    batches_per_epoch = math.ceil(batches_per_epoch / processes)
    steps = total_steps(batches_per_epoch, accumulation=accumulation, epochs=settings.epochs, steps=settings.steps)
    if not steps or not batches_per_epoch:
        return  # the datasets' own findings say why
    batches = steps * accumulation if settings.epochs is None else settings.epochs * batches_per_epoch
    preservation = settings.preservation
    if preservation is not None and preservation.every is not None and preservation.every >= batches:
        where = expert.where("preservation", "every")
        text = (
            f"of the {batches:,} batches of a training only the first preserves, before there is anything to preserve"
        )
        yield Finding(where, text, f"every: {max(1, batches // 10)}", level="warning")
    warmup = settings.lr_warmup_steps
    if isinstance(warmup, int) and warmup > steps:
        ends = f"its learning rate ends at {steps / warmup:.0%} of learning_rate"
        text = f"{warmup:,} is more than the {steps:,} steps of a training: {ends}"
        yield Finding(expert.where("lr_warmup_steps"), text, "0.05, a share", level="warning")
    validation = spec.validation
    if validation is not None and validation.every_steps > steps:
        where = spec.where("validation", "every_steps")
        text = (
            f"{validation.every_steps} is more than the {steps:,} steps of a training: items are held out for nothing"
        )
        yield Finding(where, text, f"{max(1, steps // 10)}", level="warning")
