"""A run with every layer laid over the other: what plan/ works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wan22lora.errors import Finding
from wan22lora.musubi.pins import Pin
from wan22lora.spec.extension import ValidationSettings
from wan22lora.spec.layers import Origin
from wan22lora.spec.model import DatasetSettings, TrainSettings
from wan22lora.spec.tasks import ExpertName, Task

TrainingStep = Literal["train", "train-high", "train-low"]
_STEPS: dict[ExpertName, TrainingStep] = {"single": "train", "high": "train-high", "low": "train-low"}


@dataclass(frozen=True)
class Resolved:
    """Settings after all layers, each value with its origin; missing keys are None in `settings`."""

    origins: Mapping[str, Origin]
    fallback: str
    """Where to point for a key that nobody wrote."""
    prefix: str
    """`train`, `experts.high`, `data`, …: the key path a person would write such a key under."""

    def where(self, key: str, *inside: str) -> str:
        """`run.yaml:12:7 train.learning_rate` for a key, or for one inside its mapping."""
        if key in self.origins:
            return str(self.origins[key].inside(*inside))
        return f"{self.fallback} {self.prefix}.{key}"

    def from_preset_that_reproduces(self, key: str) -> str | None:
        """The published source that the value is there to reproduce, if its preset says so."""
        return self.origins[key].layer.reproduces if key in self.origins else None


@dataclass(frozen=True)
class Kept:
    """What the trainer's own way of computing keeps for the backward pass beside the blocks' inputs."""

    share: float = 0.0
    """0 to 1, of what can be kept under checkpointing."""
    everything: bool = False
    """No checkpointing at all; then `share` does not matter."""
    cast_once: bool = False
    """The blocks' weights are cast for good."""


@dataclass(frozen=True)
class Expert(Resolved):
    """One training."""

    name: ExpertName
    settings: TrainSettings
    options: Mapping[str, Any]
    """musubi options without a key of their own."""
    option_origins: Mapping[str, Origin]
    kept: Kept = Kept()

    def is_written(self, key: str) -> bool:
        """Whether a person wrote this key into run.yaml, so that nobody else chooses its value."""
        return key in self.origins and self.origins[key].layer.kind == "run.yaml"

    def where_option(self, name: str) -> str:
        """`run.yaml:14:5 musubi.train.resume` for an option without a key of its own."""
        return str(self.option_origins[name]) if name in self.option_origins else f"musubi.{name}"

    @property
    def step(self) -> TrainingStep:
        """The step of a plan that trains it."""
        return _STEPS[self.name]


@dataclass(frozen=True)
class Dataset(Resolved):
    """One folder or list, its paths absolute."""

    settings: DatasetSettings
    kind: str
    """images or videos."""
    directory: Path | None
    jsonl: Path | None


@dataclass(frozen=True)
class StepOptions:
    """musubi options without a key of their own, of one caching step."""

    values: Mapping[str, Any]
    origins: Mapping[str, Origin]


@dataclass(frozen=True)
class Spec:
    """A run as its files describe it. Paths are absolute; weights may be None, then the machine settings decide."""

    file: Path
    name: str
    folder: Path
    task: Task
    pin: Pin
    trainer: Literal["extension", "plain"]
    """extension: wan22lora's own loop inside musubi's Python; plain: musubi's program."""
    speed: Literal["reference", "fast", "max"]
    """reference: by musubi's modules; fast: the same in less time; max: nearly the same, with products in fp8."""
    parallel: Literal["experts", "ddp", "off"]
    """What several GPUs are for: the experts at the same time, the batches of one expert, or nothing."""
    stop_grace: float
    """Seconds that a training may take to save its state when it is stopped."""
    on_oom: Literal["stop", "retry"] | None
    """None: what a person wrote stays, what was chosen is lowered."""
    validation: ValidationSettings | None
    trigger: str | None
    preset: str | None
    hardware: str
    usable_gib: float | None
    """GPU memory that the run is planned for: what is free with `auto`, else a class's; None when no card is known."""
    models: Mapping[str, Path]
    datasets: tuple[Dataset, ...]
    experts: tuple[Expert, ...]
    cache_latents: StepOptions
    cache_text: StepOptions
    origins: Mapping[str, Origin]
    """Where each key at the top was written."""
    notes: tuple[Finding, ...]
    """Warnings, for the plan to show."""

    @property
    def card(self) -> str:
        """What `usable_gib` is the memory of, in words."""
        return "this GPU as it is now" if self.hardware == "auto" else f"a {self.hardware} card"

    @property
    def asks_for_speed(self) -> bool:
        """Whether a file says `speed:`, so that no other will do."""
        return "speed" in self.origins

    def output_name(self, expert: Expert) -> str:
        """An expert's LoRA file without its ending."""
        own = self.name if expert.name == "single" else f"{self.name}-{expert.name}"
        return expert.settings.output_name or own

    def where(self, key: str, *inside: str) -> str:
        """`run.yaml:4:1 validation` for a key at the top, or for one inside its mapping; the head of the file for one
        that nobody wrote.
        """
        return str(self.origins[key].inside(*inside)) if key in self.origins else f"{self.file.name}:1:1 {key}"
