"""How much longer a step takes when a class is preserved."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.spec.resolved import Expert, Spec


def preservation_cost(spec: Spec) -> Iterator[Finding]:
    """One line for a run that preserves anything."""
    costs = {expert.name: cost for expert in spec.experts if (cost := times_as_long(expert)) is not None}
    if not costs:
        return
    preserving = [expert for expert in spec.experts if expert.name in costs]
    if len(set(costs.values())) == 1:
        of_whom = "" if len(costs) == len(spec.experts) else f" of the {preserving[0].name}-noise expert"
        text = f"makes a step{of_whom} take about {next(iter(costs.values())):.2f} times as long"
    else:
        each = " and ".join(f"{cost:.2f} times ({name})" for name, cost in costs.items())
        text = f"makes a step take about {each} as long"
    most = max(costs.values())
    every_batch = any(_share(expert) == 1 for expert in preserving)
    fix = f"`every: 4` makes it {1 + (most - 1) / 4:.2f} times" if every_batch else ""
    yield Finding(preserving[0].where("preservation"), text, fix, level="note")


def times_as_long(expert: Expert) -> float | None:
    """The time of a step by that of one without preservation; None for an expert that preserves nothing.

    In forward passes a batch takes 3, one forward and two for going back, or 4 when gradient checkpointing computes
    them again; preservation adds a batch of its own and one forward pass without gradients.
    """
    if expert.settings.preservation is None:
        return None
    batch = 4 if expert.settings.gradient_checkpointing else 3
    return 1 + _share(expert) * (batch + 1) / batch


def _share(expert: Expert) -> float:
    """The share of batches in which the class is preserved."""
    preservation = expert.settings.preservation
    assert preservation is not None
    if preservation.probability is not None:
        return preservation.probability
    return 1 / (preservation.every or 1)
