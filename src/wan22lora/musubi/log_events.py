"""What musubi's programs tell in their output, as values. log_lines.parse makes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class TrainStep:
    """So many optimizer steps are done.

    A step is shown more than once, first with the loss of the step before. The loss is musubi's running average: None
    before the first step, and nan for ever after one nan (utils/train_utils.py:62-81).
    """

    step: int
    total: int
    loss: float | None


@dataclass(frozen=True)
class Progress:
    """A bar of something else: loading a model ("Loading x.safetensors"), or the denoising of a sample picture."""

    label: str
    done: int
    total: int


@dataclass(frozen=True)
class CacheProgress:
    """Batches of the current dataset that a cache program has been through; nobody knows of how many."""

    done: int


@dataclass(frozen=True)
class EncodingDataset:
    """A cache program starts on the dataset of this index in dataset.toml."""

    index: int


@dataclass(frozen=True)
class PicturesFound:
    """Pictures (with a caption, at v0.3.4) or clips in one dataset's folder; JSONL lists count as well."""

    count: int


@dataclass(frozen=True)
class CacheFileRemoved:
    """A cache program has deleted a cache file of something that is no longer in the dataset."""

    path: Path


@dataclass(frozen=True)
class TextCacheMissing:
    """Training leaves an item out, because its caption was not encoded."""

    path: Path


@dataclass(frozen=True)
class NanReplaced:
    """A cache file would have contained NaN; musubi wrote zeros instead."""

    item: str


@dataclass(frozen=True)
class BucketInfo:
    """One bucket of the training. `frames` is always 9 for pictures (dataset/image_video_dataset.py:528-531)."""

    width: int
    height: int
    frames: int | None
    count: int
    """Items times repeats."""


@dataclass(frozen=True)
class TotalBatches:
    """Batches per epoch of one dataset; each dataset reports its own."""

    count: int


@dataclass(frozen=True)
class DtypeDetected:
    """The type of the model file's weights, as torch names it: float16, bfloat16, float8_e4m3fn …"""

    dtype: str


@dataclass(frozen=True)
class Device:
    """Where accelerate trains: cuda, cpu …"""

    name: str


@dataclass(frozen=True)
class LoadingModel:
    """The program starts reading this model file."""

    path: Path


@dataclass(frozen=True)
class ModulesCreated:
    """Layers that get a LoRA: 400 with a 14B model."""

    count: int


@dataclass(frozen=True)
class ResumedFrom:
    """The optimizer and LoRA come from this state; steps and file names start at 0 again all the same."""

    path: Path


@dataclass(frozen=True)
class TrainingStarted:
    """Everything is loaded; numbers follow, then the first step."""


@dataclass(frozen=True)
class TrainItems:
    """Items in an epoch, repeats included."""

    count: int


@dataclass(frozen=True)
class BatchesPerEpoch:
    count: int


@dataclass(frozen=True)
class Epochs:
    count: int


@dataclass(frozen=True)
class TotalSteps:
    """Optimizer steps of the whole training."""

    steps: int


@dataclass(frozen=True)
class EpochStarted:
    epoch: int
    of: int


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint is about to be written: musubi says so before it writes, so the file may not be whole yet."""

    path: Path


@dataclass(frozen=True)
class CheckpointRemoved:
    path: Path


@dataclass(frozen=True)
class StateSaved:
    """A state is about to be written; after an epoch, after a step, or (both None) at the end of the training."""

    epoch: int | None = None
    step: int | None = None


@dataclass(frozen=True)
class StateRemoved:
    path: Path


@dataclass(frozen=True)
class SamplingStarted:
    """Sample pictures are being made; steps wait."""

    step: int


@dataclass(frozen=True)
class ModelSaved:
    """The final LoRA is written: the last thing a good training says."""


@dataclass(frozen=True)
class WarningLine:
    """A warning of a module's logger or of Python (then `source` is the category)."""

    source: str
    text: str


@dataclass(frozen=True)
class ErrorLine:
    source: str
    text: str


Event: TypeAlias = (
    TrainStep | Progress | CacheProgress | EncodingDataset | PicturesFound | CacheFileRemoved | TextCacheMissing
    | NanReplaced | BucketInfo | TotalBatches | DtypeDetected | Device | LoadingModel | ModulesCreated | ResumedFrom
    | TrainingStarted | TrainItems | BatchesPerEpoch | Epochs | TotalSteps | EpochStarted | CheckpointSaved
    | CheckpointRemoved | StateSaved | StateRemoved | SamplingStarted | ModelSaved | WarningLine | ErrorLine
)  # fmt: skip
