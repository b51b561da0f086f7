"""Makes a model of musubi's compute its blocks the fast way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch._functorch.config
from torch._functorch import partitioners
from torch.utils.checkpoint import checkpoint

from .block import Sizes, Weights, compute
from .keeping import Shape, contexts_for, stages_of_blocks
from .rotation import Rotations
from .timesteps import embed_on_the_gpu
from .weights import Layers, names_of, require_supported

STATIC_SHAPES = 4
"""So many numbers of tokens get kernels of their own; further ones share kernels for any number, a little slower."""


def make_fast(
    model: Any,
    network: Any,
    *,
    compiled: bool,
    checkpointing: bool,
    share: float = 1.0,
    in_blocks: bool = True,
    weights_in: torch.dtype | None = None,
    fp8_results: torch.dtype | None = None,
    transposed: bool = False,
) -> str:
    """Has the blocks of `model`, a WanModel under the LoRA `network`, compute the fast way from now on; tells how.

    `checkpointing` as musubi's option: without it, everything that the backward pass uses is kept. `share`, 0 to 1, is
    how much of what takes long to compute is kept with it. Without `in_blocks` a block is kept or computed again as a
    whole, which blocks that are swapped need. `weights_in` casts the blocks' weights for good, not for each use. With
    `fp8_results` products with frozen weights are made in 8 bits and come in this type; `transposed` keeps a second
    copy of those weights for the backward pass. Raises Unsupported or NoFp8, with the model as it was.
    """
    layers = Layers(network)
    require_supported(model)
    if fp8_results is not None:
        layers.multiply_in_fp8(model, fp8_results)
    if model.model_version != "2.1":
        model.set_time_embedding_v2_1(True)  # one embedding a sample: all its tokens have the same timestep
    if weights_in is not None:
        layers.cast(model, weights_in)
    if in_blocks:
        layers.pack(model)
    if transposed:
        layers.transpose(model)
    embed_on_the_gpu(sys.modules[type(model).__module__])
    fast = _Fast(layers, Sizes(model.num_heads, model.eps), compiled, share, model)
    for number, block in enumerate(model.blocks):
        block.forward = _FastBlock(fast, block, number, checkpointing, in_blocks)
    how = "compiled" if compiled else "not compiled"
    products = f"products in 8 bits, as {_name(fp8_results)}; " if fp8_results is not None else ""
    return f"{how}; {products}{_kept(checkpointing, in_blocks, share)}"


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _kept(checkpointing: bool, in_blocks: bool, share: float) -> str:
    if not checkpointing:
        return "everything is kept for the backward pass"
    if not in_blocks:
        return "of each block its input is kept for the backward pass"
    return f"{share:.0%} of the blocks' results are kept for the backward pass"


class _Fast:
    """What the blocks share."""

    def __init__(self, layers: Layers, sizes: Sizes, compiled: bool, share: float, model: Any) -> None:
        self.layers, self.sizes, self.rotations = layers, sizes, Rotations()
        self._compiled, self._share, self._blocks = compiled, share, len(model.blocks)
        self._channels, self._ffn_channels = model.dim, model.ffn_dim
        self._static: set[int] = set()
        self._functions: dict[tuple[Any, ...], Callable[..., torch.Tensor]] = {}
        self._stages: dict[Shape, list[int]] = {}
        if compiled:
            # Each number of stages, of tokens, and the LoRA's absence are a compilation of the same code.
            torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 64)
            _tell_that_nothing_is_random()

    def stages(self, number: int, tokens: int, words: int) -> int:
        """How many stages the block keeps."""
        shape = Shape(tokens, words, self._channels, self._ffn_channels)
        if shape not in self._stages:
            self._stages[shape] = stages_of_blocks(self._share, self._blocks, shape.stages())
        return self._stages[shape][number]

    def function(self, tokens: int, stages: int | None, products: tuple[str, ...]) -> Callable[..., torch.Tensor]:
        """block.compute with so many stages kept for the backward pass, or with all that it uses for None."""
        if tokens not in self._static and len(self._static) < STATIC_SHAPES:
            self._static.add(tokens)
        key = (tokens in self._static, stages, products)
        if key not in self._functions:
            function = compute if stages is None else _keeping(stages, products)
            if self._compiled:
                function = torch.compile(function, fullgraph=True, dynamic=not key[0])
            self._functions[key] = function
        return self._functions[key]


def _tell_that_nothing_is_random() -> None:
    """Compilers take attention that is computed again for something random, though it drops nothing.

    They would save the state of the random numbers before it in each block, and set it twice in the backward pass. In
    the graph-safe way each compilation would draw seeds besides, and the next epoch would come in another order.
    """
    if hasattr(partitioners, "has_recomputable_rng_ops"):
        partitioners.has_recomputable_rng_ops = lambda _: False
    if hasattr(torch._functorch.config, "graphsafe_rng_functionalization"):
        torch._functorch.config.graphsafe_rng_functionalization = False


def _keeping(stages: int, products: tuple[str, ...]) -> Callable[..., torch.Tensor]:
    contexts = contexts_for(stages, products)

    def compute_keeping(*given: Any) -> torch.Tensor:
        return checkpoint(compute, *given, use_reentrant=False, context_fn=contexts, preserve_rng_state=False)

    return compute_keeping


class _FastBlock:
    """Stands in the place of WanAttentionBlock.forward."""

    def __init__(self, fast: _Fast, block: Any, number: int, checkpointing: bool, in_blocks: bool) -> None:
        self._fast, self._block, self._number = fast, block, number
        self._checkpointing, self._in_blocks = checkpointing, in_blocks
        self._forward = block.forward
        self._weights: dict[float, tuple[Weights, tuple[str, ...]]] = {}

    def __call__(
        self,
        x: torch.Tensor,
        e: torch.Tensor,
        seq_lens: torch.Tensor,
        grid_sizes: torch.Tensor,
        freqs: list[torch.Tensor],
        context: torch.Tensor,
        context_lens: torch.Tensor | None,
    ) -> torch.Tensor:
        if freqs[0].shape[0] != x.shape[1] or e.numel() != len(x) * 6 * x.shape[2]:
            # Tokens that only fill up, or a timestep for each token: this model gets neither from musubi's trainer.
            return self._forward(x, e, seq_lens, grid_sizes, freqs, context, context_lens)
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            used = torch.get_autocast_dtype(kind)
            x, context = x.to(used), context.to(used)
        weights, products = self._given(self._fast.layers.multiplier)
        rotation, modulation = self._fast.rotations.of(freqs), e.reshape(len(x), 6, -1)
        tokens = x.shape[1]
        with torch.autocast(kind, enabled=False):
            if not torch.is_grad_enabled():
                everything = self._fast.function(tokens, None, products)
                return everything(x, modulation, context, rotation, weights, self._fast.sizes)
            # Nothing before the blocks trains. The first block's input has a gradient all the same, or it would need
            # a compilation of its own.
            x = x.detach().requires_grad_() if self._number == 0 else x
            given = (x, modulation, context.detach(), rotation, weights, self._fast.sizes)
            if self._checkpointing and self._in_blocks:
                stages = self._fast.stages(self._number, tokens, context.shape[1])
                return self._fast.function(tokens, stages, products)(*given)
            everything = self._fast.function(tokens, None, products)
            if self._checkpointing:
                return checkpoint(everything, *given, use_reentrant=False, preserve_rng_state=False)
            return everything(*given)

    def _given(self, multiplier: float) -> tuple[Weights, tuple[str, ...]]:
        """The block's weights and its products' names. The same tensors throughout: what changes is in them."""
        if multiplier not in self._weights:
            weights = self._fast.layers.weights(self._block, multiplier)
            self._weights[multiplier] = weights, names_of(weights)
        return self._weights[multiplier]
