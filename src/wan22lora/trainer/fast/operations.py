"""Operations of this package's own, made known to torch so that a call costs little.

torch.library.custom_op says the same in fewer words, and puts five functions of Python around each call: with a block's
25 calls, a GPU waits for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_LIBRARY = torch.library.Library("wan22lora", "FRAGMENT")
"""What it declares lives as long as it does."""

Operation = Callable[..., Any]


def operation(shapes: Callable[..., Any]) -> Callable[[Callable[..., Any]], Operation]:
    """Makes a function one operation for compilers and the profiler, wan22lora::NAME; it changes none of its inputs.

    `shapes` takes what the function takes, and returns empty tensors like those that the function makes.
    """

    def declare(function: Callable[..., Any]) -> Operation:
        name = function.__name__
        _LIBRARY.define(
            name + torch.library.infer_schema(function, mutates_args=()), tags=(torch.Tag.pt2_compliant_tag,)
        )
        _LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"wan22lora::{name}", shapes, lib=_LIBRARY)
        made: Operation = getattr(torch.ops.wan22lora, name).default
        return made

    return declare


def differentiate(name: str, backward: Callable[..., Any], keep: Callable[..., None]) -> None:
    """Gives an operation its derivative: `keep` as autograd.Function's setup_context, and its backward."""
    torch.library.register_autograd(f"wan22lora::{name}", backward, setup_context=keep, lib=_LIBRARY)
