"""Latents and captions encoded at the same time, where the GPU has room for the VAE's work beside T5.

Most of either program is Python that imports, so that one waits for the other for nothing. Only what was measured is
put together (docs/benchmarks.md): other options and tasks, larger pictures and longer clips wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wan22lora.dataset.scan import Scan
from wan22lora.plan.model import Step
from wan22lora.plan.prepared import Prepared
from wan22lora.spec.presets import CONTEXT_GIB

CAPTIONS_GIB = 10.9
"""The peak of encoding captions, of any number of them."""
LATENTS_GIB = 7.4
"""The peak of encoding clips of 832×480 with 49 frames; stills of 960² take 4.8."""
MOST_PIXELS = 960 * 960
"""Of a batch in one frame, and"""
MOST_VOXELS = 832 * 480 * 49
"""in all frames: what those peaks were measured with."""
FRAGMENTED_GIB = 5.0
"""What the GPU shows for a program beyond its peak, at most, but for CUDA itself."""
RAM_BESIDE_T5 = 8 << 30
"""Bytes of RAM that must be free besides the T5 file, which passes through it."""
LEAST_CORES = 4


def caching_at_once(prepared: Prepared, *, cores: int, ram_available: int | None) -> Prepared:
    """The run with its captions not waiting for its latents, where that is known to fit; else as it was.

    `cores` are those of the CPU, `ram_available` bytes, None where nobody knows.
    """
    plan, spec, t5 = prepared.plan, prepared.spec, prepared.weights["t5"]
    both = [step for step in plan.steps if step.id in ("cache-latents", "cache-text") and not step.fresh]
    if (
        len(both) < 2
        or spec.parallel == "off"
        or spec.task.image_to_video
        or cores < LEAST_CORES
        or spec.usable_gib is None
        or spec.usable_gib < CAPTIONS_GIB + LATENTS_GIB + 2 * FRAGMENTED_GIB + CONTEXT_GIB
        or spec.cache_latents.values
        or spec.cache_text.values
        or not all(weights.exists for weights in (t5, prepared.weights["vae"]))
        or ram_available is None
        or ram_available < t5.path.stat().st_size + RAM_BESIDE_T5
        or not _as_measured(prepared.scans)
    ):
        return prepared
    return replace(prepared, plan=replace(plan, steps=tuple(map(_beside, plan.steps))))


def _beside(step: Step) -> Step:
    return replace(step, after=()) if step.id == "cache-text" else step


def _as_measured(scans: Iterable[Scan]) -> bool:
    for scan in scans:
        for load in scan.loads:
            width, height, *frames = load.bucket
            pixels = width * height * min(scan.source.batch_size, load.count)
            if pixels > MOST_PIXELS or pixels * (frames[0] if frames else 1) > MOST_VOXELS:
                return False
    return True
