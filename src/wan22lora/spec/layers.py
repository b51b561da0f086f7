"""Several partial files laid over each other, and for every value the file and line it came from.

A later layer wins. Some keys only mean something together (a scheduler and its power), so a layer that changes the
leading key also clears what earlier layers said about the ones that depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wan22lora.spec.document import Document, KeyPath, Place, dotted

CLEARS: dict[str, tuple[str, ...]] = {
    "epochs": ("steps",),
    "steps": ("epochs",),
    "save_every_epochs": ("save_every_steps", "keep_last_epochs", "keep_last_steps"),
    "save_every_steps": ("save_every_epochs", "keep_last_epochs", "keep_last_steps"),
    "rank": ("alpha",),
    "optimizer": ("optimizer_args",),
    "lr_scheduler": (
        "lr_scheduler_power",
        "lr_scheduler_min_lr_ratio",
        "lr_scheduler_num_cycles",
        "lr_scheduler_args",
        "lr_warmup_steps",
        "lr_decay_steps",
    ),
    "timestep_sampling": ("timestep_shift", "sigmoid_scale", "preserve_distribution_shape"),
    "frame_extraction": ("frame_stride", "frame_sample", "max_frames"),
}


@dataclass(frozen=True)
class Layer:
    """One file of the sum."""

    document: Document
    kind: str
    """run.yaml, preset, hardware or task."""
    train: KeyPath = ("train",)
    """Where the layer keeps the settings of a training."""
    reproduces: str | None = None
    """Set on presets that repeat published commands, options without effect included."""


@dataclass(frozen=True)
class Origin:
    """Where a value was written."""

    layer: Layer
    path: KeyPath

    @property
    def place(self) -> Place:
        return self.layer.document.place(self.path)

    def inside(self, *keys: str) -> Origin:
        """A key within the value, which is a mapping."""
        return Origin(self.layer, (*self.path, *keys))

    def __str__(self) -> str:
        return f"{self.place} {dotted(self.path)}"


@dataclass
class Settings:
    """Flat keys with values and origins, filled layer by layer."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)

    def lay(self, layer: Layer, *paths: KeyPath) -> None:
        """Lays the mappings at `paths` of one layer over what is there, the first path first.

        A key set to null takes the value of earlier layers away.
        """
        written: dict[str, tuple[Any, Origin]] = {}
        for path in paths:
            for key, value in _mapping_at(layer.document.data, path).items():
                for cleared in CLEARS.get(key, ()):  # `train.epochs`, then `experts.high.steps`, in one file
                    if cleared in written and written[cleared][1].path[:-1] != path:
                        del written[cleared]
                written[key] = (value, Origin(layer, (*path, key)))
        for key, (value, _) in written.items():
            if value != self.values.get(key):
                self.drop(name for name in CLEARS.get(key, ()) if name not in written)
        for key, (value, origin) in written.items():
            if value is None:
                self.drop([key])
            else:
                self.values[key] = value
                self.origins[key] = origin

    def drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.values.pop(key, None)
            self.origins.pop(key, None)


def _mapping_at(data: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any]:
    node: Any = data
    for part in path:
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int):
            node = node[part]
        else:
            node = None
        if node is None:
            return {}
    return node if isinstance(node, dict) else {}
