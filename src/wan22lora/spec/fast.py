"""What `speed: fast` leaves to musubi's own modules: what trainer/fast raises as Unsupported."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.spec.resolved import Expert, Spec

_DROPOUTS = ("rank_dropout", "module_dropout")


def computes_fast(spec: Spec, expert: Expert) -> bool:
    """Whether the trainer computes this expert's blocks itself, wherever they wait for their turn."""
    return spec.speed != "reference" and not any(_unknown(expert))


def left_to_musubi(spec: Spec, expert: Expert) -> Iterator[Finding]:
    """What the fast path does not know of an expert: errors where `speed:` is written, else notes.

    Other networks than musubi's LoRA, SageAttention, and the attention to pictures of Wan 2.1's image-to-video would be
    others, but no run.yaml comes to them.
    """
    for where, what in _unknown(expert):
        if spec.asks_for_speed:
            yield Finding(where, f"speed: {spec.speed} does not know {what}", "remove it, or speed: reference")
        else:
            text = f"musubi's own modules train, in about twice the time: the faster ones do not know {what}"
            yield Finding(where, text, "speed: reference says that this is meant", level="note")


def _unknown(expert: Expert) -> Iterator[tuple[str, str]]:
    """Where it is written, and what it is."""
    settings, options = expert.settings, expert.options
    if settings.network_dropout:
        yield expert.where("network_dropout"), "dropout in the LoRA"
    for name in _DROPOUTS:
        if (settings.network_args or {}).get(name) not in (None, 0):
            yield expert.where("network_args", name), "dropout in the LoRA"
    if settings.attention == "flash3":
        yield expert.where("attention"), "attention by flash3"
    if options.get("compile"):
        yield expert.where_option("compile"), "`compile`, which they do for themselves"
    if settings.gradient_checkpointing_cpu_offload:
        yield expert.where("gradient_checkpointing_cpu_offload"), "activations kept in RAM"
