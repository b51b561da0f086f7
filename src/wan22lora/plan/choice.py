"""The memory settings of each training: what a person wrote, and for the rest as much as the GPU has room for.

Nothing here changes what is learned, or the key of a training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.musubi.failure import Phase
from wan22lora.plan.fast_memory import BLOCKS, CONSTANTS, Batch, fast_peak_gib, keepable_gib, largest, of_lora_gib
from wan22lora.plan.memory import BLOCK_GIB, FILLED, MOST_BLOCKS, PRESERVATION_GIB, peak_gib
from wan22lora.spec.fast import computes_fast
from wan22lora.spec.resolved import Expert, Kept, Spec

MORE_BLOCKS = 8
"""Each try costs the minutes of loading; 8 blocks are 2.7 GiB."""
_LEAST_SHARE = 0.05
"""Less than that is not worth a try of its own."""


@dataclass(frozen=True)
class GpuMemory:
    """The memory settings of one training."""

    checkpointing: bool = True
    blocks_to_swap: int = 0
    kept: Kept = field(default_factory=Kept)

    @property
    def size(self) -> tuple[bool, float, int]:
        """Sorts settings by what they take of the GPU."""
        return not self.checkpointing, self.kept.share, -self.blocks_to_swap

    def as_json(self) -> dict[str, bool | float | int]:
        return {
            "gradient_checkpointing": self.checkpointing,
            "blocks_to_swap": self.blocks_to_swap,
            "kept": self.kept.share,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, object]) -> GpuMemory | None:
        """None for what is no such thing."""
        checkpointing, blocks, share = (told.get(key) for key in ("gradient_checkpointing", "blocks_to_swap", "kept"))
        if not isinstance(checkpointing, bool) or not isinstance(blocks, int) or not isinstance(share, int | float):
            return None
        if not 0 <= blocks <= MOST_BLOCKS or not 0 <= share <= 1:
            return None
        return cls(checkpointing, blocks, Kept(float(share), not checkpointing, not checkpointing))


def memory_of(expert: Expert) -> GpuMemory:
    settings = expert.settings
    return GpuMemory(bool(settings.gradient_checkpointing), settings.blocks_to_swap or 0, expert.kept)


def with_memory(spec: Spec, scans: Iterable[Scan], at_most: GpuMemory | None = None) -> Spec:
    """The run with memory settings for every expert; `at_most` is what the GPU's memory was found to suffice for."""
    batch = largest(scans)
    return replace(
        spec, experts=tuple(with_settings(each, chosen_memory(spec, each, batch, at_most)) for each in spec.experts)
    )


def expected_gib(spec: Spec, expert: Expert, batch: Batch) -> float | None:
    """Peak allocation of a training under its settings, in GiB; None for settings of which nothing was measured.

    Preservation's passes come one after the other. Ranks above 16 and weights in 16 bits are reckoned, and so is `max`
    with blocks in RAM: as `fast`.
    """
    settings = expert.settings
    if settings.gradient_checkpointing_cpu_offload or not batch.tokens:
        return None
    blocks, fast = settings.blocks_to_swap or 0, computes_fast(spec, expert)
    if not settings.gradient_checkpointing and not (fast and expert.kept.everything and not blocks):
        return None
    constants = CONSTANTS["fast" if blocks else spec.speed] if fast else None
    least = fast_peak_gib(constants, batch, expert.kept, blocks) if constants else peak_gib(batch.tokens, blocks)
    if not settings.fp8_base and not expert.kept.cast_once:
        least += BLOCK_GIB * (BLOCKS - blocks)
    if settings.preservation is not None:
        least += PRESERVATION_GIB
    return least + of_lora_gib(settings.rank, batch)


def blocks_that_fit(spec: Spec, expert: Expert, batch: Batch) -> int | None:
    """The least number of blocks in RAM with which a training fits; None where none does or nothing is known."""
    if spec.usable_gib is None:
        return None
    for number in range(MOST_BLOCKS + 1):
        peak = expected_gib(spec, with_settings(expert, GpuMemory(blocks_to_swap=number)), batch)
        if peak is None or peak <= FILLED * spec.usable_gib:
            return None if peak is None else number
    return None


def stepped_down(expert: Expert, phase: Phase) -> GpuMemory | None:
    """The next smaller settings for an expert that ran out of memory in this phase; None where all that is left to
    change was written by a person, or nothing is left that takes less.

    Half of what was kept, then nothing, then blocks that wait in RAM: 8 of them, which are more than `SWAPPING_GIB`, so
    that the first ones take less too. Weights that do not load are not helped by keeping less, but by not casting
    them, and by blocks in RAM.
    """
    now = memory_of(expert)
    if not now.checkpointing:
        return None if expert.is_written("gradient_checkpointing") else GpuMemory(kept=Kept(1.0))
    if now.kept.share and phase != "loading":
        half = math.floor(50 * now.kept.share) / 100
        return replace(now, kept=Kept(half if half >= _LEAST_SHARE else 0.0))
    if expert.is_written("blocks_to_swap") or now.blocks_to_swap >= MOST_BLOCKS:
        return None
    return GpuMemory(blocks_to_swap=min(now.blocks_to_swap + MORE_BLOCKS, MOST_BLOCKS))


def memory_choices(spec: Spec, scans: Iterable[Scan], at_most: GpuMemory | None = None) -> Iterator[Finding]:
    """A line for each expert on how its memory is used, and why; one line for experts that are alike."""
    batch = largest(scans)
    names: dict[tuple[str, str], list[str]] = {}
    for expert in spec.experts:
        if spec.trainer == "extension" and batch.tokens and spec.usable_gib is not None:
            names.setdefault(_line(spec, expert, batch, at_most), []).append(expert.step)
    for (text, fix), steps in names.items():
        yield Finding(spec.where("hardware"), f"{' and '.join(steps)}: {text}", fix, level="note")


def in_words(memory: GpuMemory, *, fast: bool) -> str:
    """`23% of what can be kept is kept`."""
    if memory.blocks_to_swap:
        return f"{memory.blocks_to_swap} of {BLOCKS} blocks wait in RAM"
    if not memory.checkpointing:
        return "nothing is computed twice"
    if not fast:
        return "all blocks stay on the GPU"
    if memory.kept.share:
        return f"{memory.kept.share:.0%} of what can be kept is kept"
    return "the blocks' inputs alone are kept"


def _line(spec: Spec, expert: Expert, batch: Batch, at_most: GpuMemory | None) -> tuple[str, str]:
    fast, memory = computes_fast(spec, expert), memory_of(expert)
    text = f"speed: {spec.speed if fast else 'reference'}, {in_words(memory, fast=fast)}"
    peak = expected_gib(spec, expert, batch)
    of = f"of {spec.usable_gib:.1f} GiB"
    text += f": about {peak:.1f} {of}" if peak is not None else f"; how much {of} that takes was not measured"
    if expert.is_written("blocks_to_swap") and memory.blocks_to_swap:
        free = chosen_memory(spec, _without(expert, "blocks_to_swap"), batch, at_most).blocks_to_swap
        if free < memory.blocks_to_swap:
            return text, f"without blocks_to_swap, {free or 'none'} would wait"
    if at_most is not None and memory.size == at_most.size:
        return f"{text}; the memory ran out with more", "delete memory.json in the run's folder to try more again"
    return text, ""


def chosen_memory(spec: Spec, expert: Expert, batch: Batch, at_most: GpuMemory | None) -> GpuMemory:
    if spec.trainer == "plain" or spec.usable_gib is None or not batch.tokens:
        chosen = _as_written(spec, expert)
    else:
        chosen = _largest_that_fits(spec, expert, batch, FILLED * spec.usable_gib)
    if at_most is None or chosen.size <= at_most.size:
        return chosen
    held = GpuMemory(
        chosen.checkpointing if expert.is_written("gradient_checkpointing") else at_most.checkpointing,
        chosen.blocks_to_swap if expert.is_written("blocks_to_swap") else at_most.blocks_to_swap,
        at_most.kept if computes_fast(spec, expert) else Kept(),
    )
    return replace(held, kept=chosen.kept) if not held.checkpointing else held


def _as_written(spec: Spec, expert: Expert) -> GpuMemory:
    memory = memory_of(expert)
    everything = computes_fast(spec, expert) and not memory.checkpointing
    return replace(memory, kept=Kept(everything=everything))


def _largest_that_fits(spec: Spec, expert: Expert, batch: Batch, gib: float) -> GpuMemory:
    """The last there are, which take least, where none fits."""
    memory = GpuMemory()
    for memory in _by_size(spec, expert, batch, gib):
        peak = expected_gib(spec, with_settings(expert, memory), batch)
        if peak is None or peak <= gib:
            break
    return memory


def _by_size(spec: Spec, expert: Expert, batch: Batch, gib: float) -> Iterator[GpuMemory]:
    """The settings there are to choose from, the largest first; those that a person wrote are in all of them."""
    settings, fast = expert.settings, computes_fast(spec, expert)
    written = _as_written(spec, expert)
    blocks = written.blocks_to_swap if expert.is_written("blocks_to_swap") else None
    kept_as_written = expert.is_written("gradient_checkpointing")
    if fast and not blocks and not (kept_as_written and written.checkpointing):
        everything = _everything(spec, expert)
        if everything is not None:
            yield GpuMemory(False, 0, everything)
        if kept_as_written:
            yield GpuMemory(False, 0, Kept(everything=True))
    checkpointing = written.checkpointing if kept_as_written else True
    if fast and checkpointing and not blocks:
        least = expected_gib(spec, with_settings(expert, GpuMemory()), batch)
        if least is None:
            yield GpuMemory()
            return
        share = math.floor(100 * (gib - least) / keepable_gib(batch)) / 100
        if share >= 0:
            yield GpuMemory(kept=Kept(min(1.0, share)))
    if settings.gradient_checkpointing_cpu_offload and blocks is None:
        blocks = written.blocks_to_swap
    kept = Kept(everything=fast and not checkpointing)
    for number in range(MOST_BLOCKS + 1) if blocks is None else (blocks,):
        yield GpuMemory(checkpointing, number, kept)


def _everything(spec: Spec, expert: Expert) -> Kept | None:
    """How everything is kept; None where it was not measured: with weights that could be cast for good, and are not."""
    constants, settings = CONSTANTS.get(spec.speed), expert.settings
    if constants is None:
        return None
    if constants.cast is None:
        return Kept(everything=True)
    if settings.fp8_scaled or settings.mixed_precision not in ("fp16", "bf16"):
        return None
    return Kept(everything=True, cast_once=True)


def with_settings(expert: Expert, memory: GpuMemory) -> Expert:
    settings = expert.settings
    changed: dict[str, bool | int] = {}
    if bool(settings.gradient_checkpointing) != memory.checkpointing:
        changed["gradient_checkpointing"] = memory.checkpointing
    if (settings.blocks_to_swap or 0) != memory.blocks_to_swap:
        changed["blocks_to_swap"] = memory.blocks_to_swap
    return replace(expert, settings=settings.model_copy(update=changed), kept=memory.kept)


def _without(expert: Expert, key: str) -> Expert:
    """As if nobody had written this key."""
    origins = {name: origin for name, origin in expert.origins.items() if name != key}
    return replace(expert, origins=origins, settings=expert.settings.model_copy(update={key: None}))
