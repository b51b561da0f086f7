"""What of a block is kept for its backward pass, and what is computed once more.

Checkpointing keeps a block's input and computes all of the block again. Here results that take long to compute are kept
as far as there is memory for them, the costliest for their size first; norms, modulation, rotations and casts are
always computed again, which costs next to nothing inside compiled kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

STAGES: tuple[tuple[str, ...], ...] = (
    ("attention", "cross k v"),
    ("q k v",),
    ("o", "cross q", "cross o"),
    ("ffn in",),
    ("cross attention",),
)
"""What is kept in the order of what keeping spares for its size.

A product of n channels with n takes 2n FLOP for each byte of its result in 16 bits. Attention takes more, tokens times
2, the caption's products are few tokens, and attention to a caption takes few FLOP. The result of "ffn out" is in no
derivative, as nothing before it but the block's input is needed for its gate.
"""
ATTENTIONS = ("attention", "cross attention")
"""In the order in which block.compute makes them."""


@dataclass(frozen=True)
class Shape:
    """Of one block and a batch."""

    tokens: int
    words: int
    channels: int
    ffn_channels: int
    bytes_each: int = 2

    def bytes_of(self, name: str) -> int:
        """What keeping the result `name` takes."""
        channels = {"ffn in": self.ffn_channels, "q k v": 3 * self.channels, "cross k v": 2 * self.channels}
        rows = self.words if name == "cross k v" else self.tokens
        return rows * channels.get(name, self.channels) * self.bytes_each

    def stages(self) -> list[int]:
        """Bytes of each stage by itself."""
        return [sum(map(self.bytes_of, stage)) for stage in STAGES]


def stages_of_blocks(share: float, blocks: int, sizes: Sequence[int]) -> list[int]:
    """How many stages each block keeps, so that all keep at most `share` of what keeping everything would take.

    All blocks keep the same number or, the first ones, one more: the costlier a stage is for its size, the earlier all
    have it. `sizes` are those of the stages of one block.
    """
    left = share * blocks * sum(sizes)
    kept = [0] * blocks
    for size in sizes:
        more = min(blocks, int(left / size + 1e-9))
        left -= more * size
        for block in range(more):
            kept[block] += 1
        if more < blocks:
            break
    return kept


def contexts_for(stages: int, products: tuple[str, ...]) -> Any:
    """A context_fn for torch.utils.checkpoint that keeps the first stages.

    `products` names the products in the order in which block.compute makes them; one that is made in parts has its name
    there for each part.
    """
    names = frozenset(name for stage in STAGES[:stages] for name in stage)
    return partial(_contexts, names, products)


def _contexts(names: frozenset[str], products: tuple[str, ...]) -> Any:
    return create_selective_checkpoint_contexts(_Policy(names, products))


class _Policy:
    """Knows results by their order, in the pass itself and when they are computed again."""

    def __init__(self, names: frozenset[str], products: tuple[str, ...]) -> None:
        self._names = names
        self._products = {again: iter(products) for again in (False, True)}
        self._attentions = {again: iter(ATTENTIONS) for again in (False, True)}

    def __call__(self, context: Any, operator: Any, *_: Any, **__: Any) -> CheckpointPolicy:
        if operator is torch.ops.aten.mm.default:  # the LoRA's inner results, of a few columns
            return CheckpointPolicy.MUST_SAVE
        kept = self._name(bool(context.is_recompute), operator) in self._names
        return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE

    def _name(self, again: bool, operator: Any) -> str | None:
        own = torch.ops.wan22lora
        if operator in (own.with_lora.default, own.fp8_with_lora.default, torch.ops.aten.addmm.default):
            return next(self._products[again])
        if "scaled_dot_product" in str(operator):
            return next(self._attentions[again])
        return None
