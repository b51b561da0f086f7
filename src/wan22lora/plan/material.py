"""What the steps of one plan have in common, read once: datasets, weights, musubi's options, the files to write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wan22lora.dataset.memory import Memory
from wan22lora.dataset.predict import batches_per_epoch
from wan22lora.dataset.scan import Scan, scan
from wan22lora.machine.settings import Machine
from wan22lora.musubi.contract import Contract, load_contract
from wan22lora.musubi.dataset_toml import dataset_toml
from wan22lora.musubi.programs import ACCELERATE_CONFIG, Programs
from wan22lora.plan.choice import with_memory
from wan22lora.plan.class_captions import captions_file, class_captions
from wan22lora.plan.contents import Contents
from wan22lora.plan.continuation import Asked
from wan22lora.plan.held_out import HELD_OUT_FILE, HeldOut, hold_out
from wan22lora.plan.model import PlannedFile
from wan22lora.plan.prepared import History
from wan22lora.plan.shared import processes_of
from wan22lora.plan.sources import sources
from wan22lora.plan.weights import Weights, weights_of
from wan22lora.spec.resolved import Spec


@dataclass(frozen=True)
class Material:
    """Lives for one call of `prepare`."""

    spec: Spec
    """With the memory settings that are chosen by the largest batch."""
    machine: Machine
    history: History
    asked: Asked
    scans: tuple[Scan, ...]
    contents: Contents

    @classmethod
    def of(cls, spec: Spec, machine: Machine, history: History, asked: Asked, memory: Memory) -> Material:
        """Reads the datasets; what `memory` knows of a picture or clip is not read again."""
        scans = tuple(scan(source, memory) for source in sources(spec))
        contents = Contents(history.manifest.contents, memory)
        return cls(with_memory(spec, scans, history.at_most), machine, history, asked, scans, contents)

    @property
    def extension(self) -> bool:
        """Whether wan22lora's own loop trains, rather than musubi's program."""
        return self.spec.trainer == "extension"

    @cached_property
    def processes(self) -> int:
        """Of each training."""
        return processes_of(self.spec, self.machine)

    @cached_property
    def programs(self) -> Programs:
        return Programs(self.machine.musubi, self.machine.python)

    @cached_property
    def contract(self) -> Contract:
        return load_contract(self.spec.pin)

    @cached_property
    def weights(self) -> dict[str, Weights]:
        return weights_of(self.spec, self.machine)

    @cached_property
    def classes(self) -> tuple[Scan, ...]:
        """Each dataset once more for each class that is preserved, with the captions of that class."""
        return class_captions(self.spec, self.scans)

    @cached_property
    def held_out(self) -> HeldOut:
        validation = self.spec.validation
        return hold_out(validation.hold_out, self.scans) if validation else HeldOut()

    @cached_property
    def trained(self) -> tuple[Scan, ...]:
        """The datasets without what is held out."""
        return self.held_out.left_of(self.scans)

    @cached_property
    def batches(self) -> int:
        """Of an epoch, before processes share them."""
        return batches_per_epoch(self.trained)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every program gets."""
        return self.programs.environment(self.machine.gpu, self.machine.hub)

    @property
    def dataset_config(self) -> Path:
        return self.spec.folder / "dataset.toml"

    @property
    def text_config(self) -> Path:
        """The dataset configuration that captions are encoded by: with the class captions, where there are any."""
        return self.spec.folder / "dataset-text.toml" if self.classes else self.dataset_config

    @property
    def held_out_file(self) -> Path:
        return self.spec.folder / HELD_OUT_FILE

    @property
    def accelerate_config(self) -> Path:
        return self.spec.folder / "accelerate.yaml"

    def files(self) -> Iterator[PlannedFile]:
        """What is written into the run folder before the first step."""
        yield PlannedFile(self.dataset_config, dataset_toml(scan.source for scan in self.scans))
        if self.classes:
            yield PlannedFile(self.text_config, dataset_toml(scan.source for scan in (*self.scans, *self.classes)))
            yield from map(captions_file, self.classes)
        if self.held_out:
            yield PlannedFile(self.held_out_file, self.held_out.file())
        if not self.extension:
            yield PlannedFile(self.accelerate_config, ACCELERATE_CONFIG)
