"""Checks of the run itself: run.yaml, its dataset, its memory."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.dataset.problems import counted
from wan22lora.doctor.check import Check, failure, ok, warning
from wan22lora.doctor.facts import Facts
from wan22lora.errors import Finding


def run_yaml(facts: Facts) -> Iterator[Check]:
    run = facts.run
    if run is None:
        return
    for finding in run.problems:
        yield failure("run", _text(finding), finding.fix)
    for note in run.notes:
        yield _check("run", note)
    if run.prepared is not None:
        steps = [step for step in run.prepared.plan.steps if step.predicted_steps is not None and not step.fresh]
        spec = run.prepared.spec
        lengths = (
            ", ".join(f"{step.id} {counted(step.predicted_steps or 0, 'step')}" for step in steps) or "all trained"
        )
        yield ok("run", f"{run.file} can be planned: {spec.task.name}, hardware {spec.hardware}, {lengths}")


def dataset(facts: Facts) -> Iterator[Check]:
    run = facts.run
    if run is None or run.spec is None:
        return
    for finding in run.dataset_problems:
        yield _check("dataset", finding)
    if not any(finding.level == "error" for finding in run.dataset_problems):
        items = sum(len(scan.items) for scan in run.scans)
        batches = f", {counted(run.prepared.batches_per_epoch, 'batch')} an epoch" if run.prepared else ""
        yield ok("dataset", f"{items} pictures or clips with captions{batches}")


def _check(name: str, finding: Finding) -> Check:
    if finding.level == "note":
        return ok(name, _text(finding))
    make = failure if finding.level == "error" else warning
    return make(name, _text(finding), finding.fix)


def _text(finding: Finding) -> str:
    text = f"{finding.where}: {finding.message}" if finding.where else finding.message
    return text if text.endswith((".", "!", "?")) else f"{text}."
