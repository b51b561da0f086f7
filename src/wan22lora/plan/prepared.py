"""What a plan is made with: what earlier runs left behind, and the plan itself with the facts behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.plan.adoption import Offers
from wan22lora.plan.by_hand import Note
from wan22lora.plan.caches import CacheState
from wan22lora.plan.choice import GpuMemory
from wan22lora.plan.contents import Contents
from wan22lora.plan.held_out import HeldOut
from wan22lora.plan.made_from import Records
from wan22lora.plan.manifest import CacheKind, Manifest
from wan22lora.plan.model import Plan
from wan22lora.plan.states import Kept
from wan22lora.plan.weights import Weights
from wan22lora.spec.resolved import Spec


@dataclass(frozen=True)
class History:
    """What earlier runs in the same folder left: keys of finished trainings, states, the manifest of the caches."""

    keys: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    states: Mapping[str, Kept] = field(default_factory=dict)
    manifest: Manifest = field(default_factory=Manifest)
    at_most: GpuMemory | None = None
    """Memory settings above which the GPU's memory ran out."""
    offers: Offers = field(default_factory=Offers)
    """Cache files of this and other runs that may be taken over."""
    notes: Mapping[CacheKind, Note] = field(default_factory=dict)
    """Of cachings that were started by hand."""
    learned: Callable[[str], Records] = lambda _: {}
    """What a training of this run learned from, by its digest; nothing where nobody wrote it down."""


@dataclass(frozen=True)
class Prepared:
    """A plan with the facts that it was made from."""

    plan: Plan
    spec: Spec
    scans: tuple[Scan, ...]
    weights: Mapping[str, Weights]
    caches: Mapping[str, CacheState]
    contents: Contents
    dataset_findings: tuple[Finding, ...]
    """What is wrong with pictures, clips and captions; errors among them stop a run, not a dry run."""
    batches_per_epoch: int
    held_out: HeldOut
    processes: int = 1
    """Of each training, which share its batches."""

    @property
    def trained(self) -> tuple[Scan, ...]:
        """The datasets without the items that are held out."""
        return self.held_out.left_of(self.scans)
