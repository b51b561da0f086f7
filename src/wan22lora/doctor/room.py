"""Checks of RAM and shared memory."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.doctor.check import Check, failure, gb, ok, warning
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.needs import (
    GIB,
    RAM_TEXT,
    Need,
    ram_needs,
    shared_memory_need,
)
from wan22lora.machine.gpus import usable_gpus
from wan22lora.plan.loading_ram import RAM_SWAPPING

_NEVER_SWAPS = 42 * GIB
"""GPU memory from which presets/hardware swaps no blocks."""
_SHARED_MEMORY_LEAST = 64_000_000
"""What Docker gives; enough for stills."""


def ram(facts: Facts) -> Iterator[Check]:
    if facts.ram is None:
        return
    free, total = facts.ram.available, facts.ram.total
    whose = "this container may use" if facts.ram.limited else "there are"
    text = f"{gb(free)} of RAM are free; {whose} {gb(total)} in all"
    gpus = usable_gpus(facts.machine.gpus, facts.nvidia)
    need = max(ram_needs(facts.run, gpus), key=lambda each: each.amount, default=None) if facts.run else None
    if need is not None and need.amount > total:
        yield failure("ram", f"{text}. {need.what.capitalize()} takes {gb(need.amount)}.", _less_ram(need))
    elif need is not None and need.amount > free:
        fix = "ps -eo pid,rss,comm --sort=-rss | head"
        fix += f", or {need.less}" if need.less.startswith("parallel") else ""
        yield failure("ram", f"{text}. {need.what.capitalize()} takes {gb(need.amount)}: end other programs.", fix)
    elif need is not None:
        yield ok("ram", f"{text}; {need.what} takes {gb(need.amount)}")
    elif free < RAM_TEXT:
        yield warning("ram", f"{text}. Encoding captions takes {gb(RAM_TEXT)}.")
    elif free < RAM_SWAPPING and not _has_large_gpu(facts):
        yield warning("ram", f"{text}. On GPUs below 48 GB, loading an expert takes {gb(RAM_SWAPPING)}.")
    else:
        yield ok("ram", text)


def shared_memory(facts: Facts) -> Iterator[Check]:
    if facts.shared_memory is None:
        return
    free, total = facts.shared_memory.free, facts.shared_memory.total
    text = f"{gb(free)} of shared memory (/dev/shm) are free" if free >= 1e9 else _small(free)
    need = shared_memory_need(facts.run) if facts.run else None
    fix = "train: {data_loader_workers: 0} in run.yaml"
    if facts.container:
        fix = "docker run --shm-size=2g …, or " + fix
    if need is not None and need.amount > free:
        yield failure("shared-memory", f"{text}; {need.what} take up to {gb(need.amount)} of it.", fix)
    elif need is None and total < _SHARED_MEMORY_LEAST:
        yield warning("shared-memory", f"{text}, which data loaders may outgrow.", fix)
    else:
        yield ok("shared-memory", text)


def _has_large_gpu(facts: Facts) -> bool:
    gpu = facts.nvidia.gpu(facts.machine.gpu)
    return gpu is not None and gpu.total is not None and gpu.total >= _NEVER_SWAPS


def _less_ram(need: Need) -> str:
    more = "a machine, or a container, with more RAM"
    return f"{need.less}, or {more}" if need.less else more


def _small(free: int) -> str:
    return f"{free / 1e6:.0f} MB of shared memory (/dev/shm) are free"
