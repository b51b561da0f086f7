"""What to change when the GPU's memory was too small: settings that cost time, but teach the LoRA the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from wan22lora.errors import Finding
from wan22lora.musubi.failure import Phase
from wan22lora.plan.choice import MORE_BLOCKS
from wan22lora.plan.memory import BLOCK_GIB, FILLED, MOST_BLOCKS, peak_gib
from wan22lora.spec.layers import Origin
from wan22lora.spec.model import TrainSettings
from wan22lora.spec.resolved import Expert, Spec

_MEMORY_SETTINGS = ("gradient_checkpointing", "blocks_to_swap", "gradient_checkpointing_cpu_offload")


@dataclass(frozen=True)
class Relief:
    """One further memory setting for a training that did not fit."""

    expert: Expert
    change: Mapping[str, bool | int]

    @property
    def setting(self) -> str:
        """`blocks_to_swap: 12`."""
        return ", ".join(f"{key}: {_text(value)}" for key, value in self.change.items())

    @property
    def line(self) -> str:
        """What to write into run.yaml: `blocks_to_swap: 12 under train: (run.yaml line 5)`, where 5 is the line of the
        value that it replaces, else that of `train:`; `train: {blocks_to_swap: 12}` where there is no `train:` yet.
        """
        (key, *_) = self.change
        origins = self.expert.origins
        written = origins.get(key)
        if written is not None and written.path[0] == "experts":
            return f"{self.setting} under experts: {self.expert.name}: ({_line(str(written.place))})"
        if written is not None and _stands_in_train(written):
            return f"{self.setting} under train: ({_line(str(written.place))})"
        if not self.expert.fallback.endswith(":1:1") or any(_stands_in_train(each) for each in origins.values()):
            return f"{self.setting} under train: ({_line(self.expert.fallback)})"
        return f"train: {{{self.setting}}}"

    def applied(self, spec: Spec) -> Spec:
        """The run with this change, for every expert whose memory settings are those that did not do."""
        failed = next(_memory_of(each.settings) for each in spec.experts if each.name == self.expert.name)
        return replace(
            spec,
            experts=tuple(
                replace(each, settings=each.settings.model_copy(update=dict(self.change)))
                if _memory_of(each.settings) == failed
                else each
                for each in spec.experts
            ),
        )


def next_relief(expert: Expert, phase: Phase, *, batch_tokens: int, usable_gib: float | None) -> Relief | None:
    """The next rung for an expert that ran out of memory in this phase, of those that change what a person wrote; None
    when there is none left. plan/choice.py lowers what was chosen, without asking.

    The rungs: gradient checkpointing, then blocks swapped (as many as `plan/memory.py` says for the largest batch, at
    least eight more, at most 38), then the activations in RAM as well. None of them is in a training's key, so that it
    goes on from its state. `usable_gib` is None where the card is unknown.
    """
    settings = expert.settings
    if phase != "loading" and not settings.gradient_checkpointing:
        return Relief(expert, {"gradient_checkpointing": True})
    swapped = settings.blocks_to_swap or 0
    if swapped < MOST_BLOCKS:
        blocks = max(swapped + MORE_BLOCKS, _blocks_needed(settings, batch_tokens, usable_gib))
        return Relief(expert, {"blocks_to_swap": min(blocks, MOST_BLOCKS)})
    if phase != "loading" and not settings.gradient_checkpointing_cpu_offload:
        return Relief(expert, {"gradient_checkpointing_cpu_offload": True})
    return None


def advice(relief: Relief | None, expert: Expert) -> Finding:
    """What a person may do after a training that ran out of memory."""
    if relief is None:
        less = "data.batch_size: 1, a smaller data.resolution, fewer data.frames, or a larger card"
        if not expert.settings.fp8_base:
            less = f"{Relief(expert, {'fp8_base': True}).line}, which trains anew; or {less}"
        return Finding(
            expert.where("blocks_to_swap"), "no memory setting is left that would teach the LoRA the same", less
        )
    (key, *_) = relief.change
    return Finding(
        expert.where(key),
        "the next memory setting to try; what is learned stays the same",
        f"{relief.line}; with on_oom: retry this is done without asking",
    )


def _blocks_needed(settings: TrainSettings, batch_tokens: int, usable_gib: float | None) -> int:
    if usable_gib is None or not settings.fp8_base:
        return 0  # nothing was measured for these
    return math.ceil((peak_gib(batch_tokens) - FILLED * usable_gib) / BLOCK_GIB)


def _memory_of(settings: TrainSettings) -> tuple[object, ...]:
    return tuple(getattr(settings, key) or 0 for key in _MEMORY_SETTINGS)


def _stands_in_train(origin: Origin) -> bool:
    return origin.layer.kind == "run.yaml" and origin.path[0] == "train"


def _line(place: str) -> str:
    """`run.yaml line 5` for `run.yaml:5:9`."""
    file, line, _ = place.rsplit(":", 2)
    return f"{file} line {line}"


def _text(value: bool | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
