"""A run.yaml, loaded and planned as far as it goes; what is wrong with it becomes findings, never an exception."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wan22lora.dataset.memory import Memory
from wan22lora.dataset.scan import Scan, scan
from wan22lora.errors import Failure, Finding
from wan22lora.machine.settings import Machine
from wan22lora.plan.agreement import disagreements
from wan22lora.plan.build import prepare
from wan22lora.plan.choice import memory_choices, with_memory
from wan22lora.plan.prepared import Prepared
from wan22lora.plan.sources import sources
from wan22lora.plan.too_large import memory_notes
from wan22lora.plan.weights import Weights, weights_findings, weights_of
from wan22lora.run.carry_out import read_history
from wan22lora.spec.load import load_spec
from wan22lora.spec.resolved import Spec


@dataclass(frozen=True)
class Run:
    """What is known of a run; the later fields stay empty where an earlier one failed."""

    file: Path
    problems: tuple[Finding, ...] = ()
    """Why it cannot be planned; weights aside."""
    spec: Spec | None = None
    weights: Mapping[str, Weights] = field(default_factory=dict)
    weights_problems: tuple[Finding, ...] = ()
    scans: tuple[Scan, ...] = ()
    dataset_problems: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    prepared: Prepared | None = None
    """The plan, where there is one."""


def read_run(
    file: Path, machine: Machine, gpu_free_gib: Callable[[], float | None], memory: Memory | None = None
) -> Run:
    """Loads and plans the run as `train` would; reads files that `memory` does not know, writes none."""
    try:
        spec = load_spec(file, gpu_free_gib=gpu_free_gib)
    except Failure as failure:
        return Run(file, problems=_findings(failure))
    weights = weights_of(spec, machine)
    weights_problems = tuple(dict.fromkeys(weights_findings(spec, weights)))
    history = read_history(spec.folder, machine)
    try:
        prepared = prepare(spec, machine, history, memory=memory)
    except Failure as failure:
        scans = tuple(scan(source, memory) for source in sources(spec))
        spec = with_memory(spec, scans, history.at_most)
        return Run(
            file,
            problems=tuple(finding for finding in _findings(failure) if finding not in weights_problems),
            spec=spec,
            weights=weights,
            weights_problems=weights_problems,
            scans=scans,
            dataset_problems=(*(found for each in scans for found in each.findings), *disagreements(spec, scans)),
            notes=(
                *spec.notes,
                *dict.fromkeys(memory_notes(spec, scans, weights)),
                *memory_choices(spec, scans, history.at_most),
            ),
        )
    return Run(
        file,
        spec=prepared.spec,
        weights=weights,
        weights_problems=weights_problems,
        scans=prepared.scans,
        dataset_problems=prepared.dataset_findings,
        notes=prepared.plan.notes,
        prepared=prepared,
    )


def _findings(failure: Failure) -> tuple[Finding, ...]:
    return failure.findings or (Finding("", failure.summary, failure.fix),)
