"""A prepared plan, carried out in its run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from wan22lora.errors import Finding, MachineError
from wan22lora.machine.settings import Machine
from wan22lora.musubi.diagnoses import diagnose
from wan22lora.musubi.log_lines import parse
from wan22lora.plan.build import History, Prepared
from wan22lora.plan.caches import read_manifest, settle
from wan22lora.plan.lacking import lacking
from wan22lora.plan.model import Step
from wan22lora.plan.sources import cache_folder_of
from wan22lora.run.display import Display
from wan22lora.run.folder import RunFolder
from wan22lora.run.runner import Outcome, execute
from wan22lora.run.verify import verify

TRAININGS = ("train-high", "train-low", "train")


def read_history(folder: Path) -> History:
    """What earlier runs left in a run folder; nothing for a new one."""
    run_folder = RunFolder(folder)
    keys = {step: key for step in TRAININGS if (key := run_folder.key(step)) is not None}
    return History(keys, read_manifest(cache_folder_of(folder)))


def carry_out(prepared: Prepared, machine: Machine, *, display: Display, again: str) -> Outcome:
    """Runs every step that is not fresh; `again` is the command that continues after a failure.

    Raises MachineError for what the machine lacks, before anything starts, and what execute raises.
    """
    plan = prepared.plan
    if not plan.rehearsal:
        missing = list(lacking(prepared, machine))
        if missing:
            raise MachineError("this machine lacks what the run needs; nothing was started", findings=missing)

    def settle_caches(step: Step) -> None:
        settle(prepared.caches[step.id], cache_folder_of(plan.folder), prepared.contents)

    return execute(
        plan,
        RunFolder(plan.folder),
        display=display,
        verify=verify,
        again=again,
        parse=parse,
        diagnose=_causes,
        settle=settle_caches,
    )


def _causes(program: str, exit_code: int, lines: Sequence[str]) -> Iterator[Finding]:
    diagnosis = diagnose(program, exit_code, lines)
    if diagnosis is not None:
        yield Finding("likely cause", diagnosis.cause, diagnosis.fix)
