"""What `speed: fast` leaves to musubi's own modules: what trainer/fast raises as Unsupported."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.spec.resolved import Expert

_DROPOUTS = ("rank_dropout", "module_dropout")


def left_to_musubi(expert: Expert) -> Iterator[Finding]:
    """A warning for each setting with which musubi's modules train all the same; none where the fast path does.

    Other networks than musubi's LoRA, SageAttention, and the attention to pictures of Wan 2.1's image-to-video would be
    others, but no run.yaml comes to them.
    """
    settings, options = expert.settings, expert.options
    if settings.network_dropout:
        yield _left(expert.where("network_dropout"), "dropout in the LoRA")
    for name in _DROPOUTS:
        if (settings.network_args or {}).get(name) not in (None, 0):
            yield _left(expert.where("network_args", name), "dropout in the LoRA")
    if settings.attention == "flash3":
        yield _left(expert.where("attention"), "attention by flash3")
    if options.get("compile"):
        yield _left(expert.where_option("compile"), "`compile`, which it does for itself")
    if settings.gradient_checkpointing_cpu_offload:
        yield _left(expert.where("gradient_checkpointing_cpu_offload"), "activations kept in RAM")


def _left(where: str, what: str) -> Finding:
    text = f"speed: fast does not know {what}; musubi's own modules train, as with speed: reference"
    return Finding(where, text, level="warning")
