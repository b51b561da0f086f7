"""How much longer a step takes when a class is preserved."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.spec.resolved import Expert, Spec

ADDED = 1.32
"""Time that a preserving batch adds, by that of a batch: stills took 2.32 times as long, clips 2.31."""
STILLS_PER_BLOCK = 0.016
"""And for each swapped block: with 24 stills took 2.7 times as long."""
CLIPS_PER_BLOCK = 0.004
"""With 30 clips took 2.4 times as long."""
WITHOUT_CHECKPOINTING = 4 / 3
"""Not measured: three passes for a batch, forward and back, and a fourth without gradients."""


def preservation_cost(spec: Spec) -> Iterator[Finding]:
    """One line for a run that preserves anything."""
    clips = any(dataset.kind == "videos" for dataset in spec.datasets)
    costs = {expert.name: cost for expert in spec.experts if (cost := times_as_long(expert, clips=clips)) is not None}
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


def times_as_long(expert: Expert, *, clips: bool) -> float | None:
    """The time of a step by that of one without preservation; None for an expert that preserves nothing.

    Preservation adds a batch of its own and a forward pass without gradients, in which blocks that are swapped arrive
    no faster than in a whole batch. Pictures feel that; clips, whose blocks compute for longer, hardly.
    """
    if expert.settings.preservation is None:
        return None
    if not expert.settings.gradient_checkpointing:
        return 1 + _share(expert) * WITHOUT_CHECKPOINTING
    swapped = 0 if expert.options.get("block_swap_h2d_only") else expert.settings.blocks_to_swap or 0
    each = CLIPS_PER_BLOCK if clips else STILLS_PER_BLOCK
    return 1 + _share(expert) * (ADDED + each * swapped)


def _share(expert: Expert) -> float:
    """The share of batches in which the class is preserved."""
    preservation = expert.settings.preservation
    assert preservation is not None
    if preservation.probability is not None:
        return preservation.probability
    return 1 / (preservation.every or 1)
