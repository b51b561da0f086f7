"""Forward passes that no backward pass follows, in a model some of whose blocks wait in RAM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def forward_only(model: Any) -> Iterator[None]:
    """Inside, the WanModel `model` can run any number of forward passes without gradients; none may be left half done.

    In training, musubi's ModelOffloader leaves the first blocks in RAM after a forward pass, and its hooks bring them
    back in the backward pass (modules/custom_offloading_utils.py:473-497 at v0.3.4): a second forward pass right after
    the first would meet weights on the CPU. Set to forward only, it ends each forward pass with the blocks where they
    began (:523-564), which is where the next training pass expects them. So its blocks need not be placed anew, as
    WanModel.switch_block_swap_for_inference does, with a synchronization, a garbage collection and a line of output
    each time. set_forward_only waits for blocks under way, and for LoRAStreamOffloader it brings the first blocks back
    early; that one finds its way without, too (:988-1000).
    """
    offloader = model.offloader if model.blocks_to_swap else None
    if offloader is None:
        yield
        return
    offloader.set_forward_only(True)
    try:
        yield
    finally:
        offloader.set_forward_only(False)
