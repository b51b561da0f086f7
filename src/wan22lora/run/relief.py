"""A training that runs out of GPU memory: told what to try next, or tried again with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from wan22lora.dataset.scan import Scan
from wan22lora.files import written
from wan22lora.plan.memory import largest_batch
from wan22lora.plan.relief import advice, next_relief
from wan22lora.run.failures import OutOfMemory
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Ledger
from wan22lora.spec.resolved import Spec

Done = TypeVar("Done")


def carry_out_with_relief(
    spec: Spec,
    carry_out: Callable[[Spec, frozenset[str]], Done],
    *,
    scans: Iterable[Scan],
    tell: Callable[[str], None],
) -> Done:
    """Calls `carry_out` with the run, and under `on_oom: retry` again with the next memory setting, until one does.

    `carry_out` is also told the steps that need not be forced any more: the training that ran out of memory goes on
    from its state if it has one. Raises what `carry_out` raises; OutOfMemory says what to try next.
    """
    tokens = largest_batch(scans)
    tried: frozenset[str] = frozenset()
    while True:
        try:
            return carry_out(spec, tried)
        except OutOfMemory as failure:
            expert = next(each for each in spec.experts if each.step == failure.step)
            relief = next_relief(expert, failure.phase, batch_tokens=tokens, usable_gib=spec.usable_gib)
            if relief is None or spec.on_oom != "retry":
                raise failure.with_advice(advice(relief, expert)) from None
            text = f"{failure.summary}; it is tried again with {relief.setting}"
            _note(spec, failure.step, text)
            tell(text)
            tried |= {"cache-latents", "cache-text", *_until(spec, failure.step), *failure.ran}
            spec = relief.applied(spec)


def _until(spec: Spec, step: str) -> list[str]:
    steps = [expert.step for expert in spec.experts]
    return steps[: steps.index(step) + 1]


def _note(spec: Spec, step: str, text: str) -> None:
    folder = RunFolder(spec.folder)
    with written(folder.path), Ledger(folder.events) as ledger:
        ledger.append("note", id=step, text=text)
