"""Warnings for a run that will probably not fit the GPU's memory under its settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.plan.choice import blocks_that_fit, expected_gib
from wan22lora.plan.fast_memory import Batch, largest
from wan22lora.plan.memory import FILLED, LOAD_GIB, loading_gib
from wan22lora.plan.weights import Weights
from wan22lora.spec.resolved import Expert, Spec


def memory_notes(spec: Spec, scans: Iterable[Scan], weights: Mapping[str, Weights]) -> Iterator[Finding]:
    """Of a run whose memory settings are chosen (plan/choice.py)."""
    if spec.usable_gib is None:
        return
    batch = largest(scans)
    for expert in spec.experts:
        peak = expected_gib(spec, expert, batch)
        if peak is None:
            continue
        if peak > FILLED * spec.usable_gib:
            yield _too_large(spec, expert, batch, peak, FILLED * spec.usable_gib)
        elif spec.usable_gib < loading_gib(spec, expert, weights):
            yield Finding(
                expert.where("blocks_to_swap"),
                f"loading 16-bit weights takes {LOAD_GIB:.0f} GiB on the GPU, more than {spec.card} has",
                "blocks_to_swap: 1 loads them in RAM (44 GB must be free)",
                level="warning",
            )


def _too_large(spec: Spec, expert: Expert, batch: Batch, peak: float, fits: float) -> Finding:
    fix = "a smaller resolution, fewer frames or a smaller batch"
    needed = blocks_that_fit(spec, expert, batch)
    if needed is not None:
        fix = f"train: {{blocks_to_swap: {needed}}}, or {fix}"
    text = f"the largest batch will take about {peak:.1f} GiB; {fits:.1f} GiB fit {spec.card}"
    return Finding(expert.where("blocks_to_swap"), text, fix, level="warning")
