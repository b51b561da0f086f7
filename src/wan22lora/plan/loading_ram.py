"""What loading an expert takes of the RAM when blocks are to wait there, as measured (docs/benchmarks.md)."""

from __future__ import annotations

from collections.abc import Mapping

from wan22lora.plan.weights import Weights, expert_weights
from wan22lora.spec.resolved import Expert, Spec

RAM_SWAPPING = 17_000_000_000
"""Loading an expert with any block swapped where its weights arrive in 8 bits: 14.8 GiB, in one case 15.9. They do when
the file holds them so, and in the extension, which casts tensor by tensor."""
RAM_SWAPPING_16 = 30_000_000_000
"""The same without `fp8_base`: 27.7 GiB in the extension."""
RAM_SWAPPING_PLAIN = 44_000_000_000
"""The same under `trainer: plain`: 40.9 GiB, the file and its 8-bit copy."""


def swapping_ram(spec: Spec | None, expert: Expert, weights: Mapping[str, Weights]) -> int:
    """Bytes, for an expert with swapped blocks."""
    if (expert_weights(weights, expert.name).facts.dtype or "").startswith("fp8"):
        return RAM_SWAPPING
    if spec is None or spec.trainer == "plain":
        return RAM_SWAPPING_PLAIN
    return RAM_SWAPPING if expert.settings.fp8_base else RAM_SWAPPING_16
