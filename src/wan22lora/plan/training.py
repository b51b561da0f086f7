"""What a training's result depends on, and whether the files on disk are that result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from wan22lora.musubi.options import Option
from wan22lora.musubi.safetensors import NotSafetensors, read_header
from wan22lora.plan.caches import CacheState, record_name

WITHOUT_EFFECT = frozenset(
    {
        "dataset_config",
        "output_dir",
        "dit",
        "vae",
        "t5",
        "gradient_checkpointing",
        "gradient_checkpointing_cpu_offload",
    }
    | {"blocks_to_swap", "max_data_loader_n_workers", "persistent_data_loader_workers", "metadata_title"}
)
"""Options that change where or how fast, never what is learned. The weights are compared by name and size instead."""


def training_key(
    options: Iterable[Option], *, weights: str, dataset: str, caches: Iterable[CacheState], revision: str
) -> dict[str, str]:
    """Everything the LoRA depends on, by names a person can read; the pictures and captions as one digest."""
    key = {
        f"--{option.name}": " ".join(option.values) or "on" for option in options if option.name not in WITHOUT_EFFECT
    }
    made_from = sorted(
        f"{record_name(path)} {part} {value}"
        for state in caches
        for path, parts in state.expected.items()
        for part, value in parts.items()
    )
    return {
        **key,
        "weights": weights,
        "dataset settings": dataset,
        "pictures and captions": hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:16],
        "musubi": revision,
    }


def why_train(key: Mapping[str, str], done: Mapping[str, str] | None, writes: Iterable[Path]) -> str:
    """The reason to train; empty when the files on disk are what `key` would give."""
    if not done:
        return "not trained yet"
    changes = [
        _change(part, done.get(part), key.get(part)) for part in {**done, **key} if done.get(part) != key.get(part)
    ]
    if changes:
        more = f", and {len(changes) - 3} more" if len(changes) > 3 else ""
        return "; ".join(changes[:3]) + more
    for path in writes:
        try:
            read_header(path)
        except FileNotFoundError:
            return f"{path.name} is missing"
        except (NotSafetensors, OSError) as error:
            return f"{path.name} is damaged: {error}"
    return ""


def _change(part: str, before: str | None, now: str | None) -> str:
    if part in ("pictures and captions", "dataset settings"):
        return f"{part} changed"
    if before is None:
        return f"{part} {now} is new"
    if now is None:
        return f"{part} {before} is gone"
    return f"{part} was {before}, is {now}"
