"""A training that the GPU's memory, or the machine's compiler, does not suffice for: tried again with what does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from wan22lora.dataset.scan import Scan
from wan22lora.files import written
from wan22lora.plan.choice import GpuMemory, in_words, memory_of, stepped_down, with_memory
from wan22lora.plan.fast_memory import largest
from wan22lora.plan.relief import advice, next_relief
from wan22lora.run.failures import NotFast, OutOfMemory
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Ledger
from wan22lora.spec.fast import computes_fast
from wan22lora.spec.resolved import Expert, Spec

Done = TypeVar("Done")


def carry_out_with_relief(
    spec: Spec,
    carry_out: Callable[[Spec, frozenset[str]], Done],
    *,
    scans: Iterable[Scan],
    tell: Callable[[str], None],
) -> Done:
    """Calls `carry_out` with the run, and again where a training can be tried with less, until one does.

    Memory settings that were chosen are lowered, and the run's folder remembers to what; those that a person wrote are
    changed under `on_oom: retry` alone. A training that was to be fast only because nobody said otherwise is left to
    musubi's modules where it cannot be.

    `carry_out` is also told the steps that need not be forced any more: the training that ran out of memory goes on
    from its state if it has one. It plans with what the folder remembers. Raises what `carry_out` raises; OutOfMemory
    says what to try next.
    """
    scans = tuple(scans)
    folder = RunFolder(spec.folder)
    tried: frozenset[str] = frozenset()
    while True:
        try:
            return carry_out(spec, tried)
        except NotFast as failure:
            if spec.asks_for_speed:
                raise
            step, text, ran = failure.step, failure.in_one_line, failure.ran
            spec = replace(spec, speed="reference")
        except OutOfMemory as failure:
            step, ran = failure.step, failure.ran
            chosen = with_memory(spec, scans, folder.at_most())
            expert = next(each for each in chosen.experts if each.step == step)
            lower = _lower(chosen, expert, failure)
            if lower is not None:
                now, less = (in_words(each, fast=computes_fast(spec, expert)) for each in (memory_of(expert), lower))
                text = f"{failure.summary}, while {now}; it goes on with less: {less}"
                with written(folder.path):
                    folder.store_at_most(lower, because=f"{failure.summary}, while {now}")
            else:
                relief = next_relief(
                    expert, failure.phase, batch_tokens=largest(scans).tokens, usable_gib=spec.usable_gib
                )
                if relief is None or spec.on_oom != "retry":
                    raise failure.with_advice(advice(relief, expert)) from None
                text = f"{failure.summary}; it is tried again with {relief.setting}"
                spec = relief.applied(spec)
        _note(folder, step, text)
        tell(text)
        tried |= {"cache-latents", "cache-text", *_until(spec, step), *ran}


def _lower(spec: Spec, expert: Expert, failure: OutOfMemory) -> GpuMemory | None:
    """What to try without asking; musubi's own program would lose what it has trained."""
    if spec.on_oom == "stop" or (spec.trainer == "plain" and failure.phase == "training"):
        return None
    return stepped_down(expert, failure.phase)


def _until(spec: Spec, step: str) -> list[str]:
    steps: list[str] = [expert.step for expert in spec.experts]
    return steps[: steps.index(step) + 1]


def _note(folder: RunFolder, step: str, text: str) -> None:
    with written(folder.path), Ledger(folder.events) as ledger:
        ledger.append("adapted", id=step, text=text)
