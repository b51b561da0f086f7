"""A prepared plan, carried out in its run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from wan22lora.dataset.problems import listed
from wan22lora.errors import Finding, MachineError, RunFolderError
from wan22lora.machine.gpus import kind_of
from wan22lora.machine.known_runs import known_runs, note_run
from wan22lora.machine.nvidia import Nvidia, read_nvidia
from wan22lora.machine.settings import Machine
from wan22lora.models.arriving import is_arriving
from wan22lora.musubi.diagnoses import diagnose
from wan22lora.musubi.log_lines import parse
from wan22lora.plan.adoption import Offers, caches_beside, manifests_of
from wan22lora.plan.at_once import GPU_VARIABLE, trainings_at_once
from wan22lora.plan.by_hand import read_note
from wan22lora.plan.continuation import raise_refusals
from wan22lora.plan.lacking import arriving, lacking
from wan22lora.plan.made_from import item_of
from wan22lora.plan.manifest import ENDINGS, Manifest, read_manifest
from wan22lora.plan.measured import Known, Measured, known_measurements, store_measured, work_of
from wan22lora.plan.model import Step, StepId
from wan22lora.plan.prepared import History, Prepared
from wan22lora.plan.sources import cache_folder_of
from wan22lora.plan.states import read_states, states_of
from wan22lora.run.attempt import CACHING
from wan22lora.run.caching import appeared, begin, drop_overtaken, settle
from wan22lora.run.display import Display
from wan22lora.run.folder import RunFolder
from wan22lora.run.measuring import Keep, Taken
from wan22lora.run.runner import Outcome, Renew, execute
from wan22lora.run.verify import verify
from wan22lora.spec.resolved import Spec

POLL_SECONDS = 2.0
TRAININGS = ("train-high", "train-low", "train")


def read_history(folder: Path, machine: Machine | None = None, *, rehearsal: bool = False) -> History:
    """What earlier runs left in a run folder, nothing for a new one; and which caches there are elsewhere: of runs in
    the same place, and of those that the machine knows."""
    run_folder = RunFolder(folder)
    states = {step: read_states(states_of(folder, step)) for step in TRAININGS}
    keys = {step: key for step in TRAININGS if (key := run_folder.key(step) or states[step].finished)}
    cache = cache_folder_of(folder)
    noted = machine.known_runs if machine is not None else None

    def all_manifests() -> Iterator[tuple[Path, Manifest]]:
        known = known_runs(noted) if noted is not None else ()
        return manifests_of([cache, *caches_beside(folder, known, rehearsal=rehearsal)])

    return History(
        keys,
        states,
        read_manifest(cache),
        run_folder.at_most(),
        Offers(all_manifests),
        {kind: read_note(cache, kind) for kind in ENDINGS},
        run_folder.learned,
    )


def read_known(spec: Spec, machine: Machine, nvidia: Nvidia) -> Known:
    """What was measured of trainings on the GPU that the run will have, in this run and in others."""
    device = ",".join(machine.gpus) if spec.parallel == "ddp" and machine.gpus else machine.gpu
    known = known_runs(machine.known_runs) if machine.known_runs is not None else ()
    return known_measurements(spec.folder, known, kind_of(device, nvidia, os.environ))


def carry_out_as_weights_arrive(
    prepared: Prepared,
    prepare_without: Callable[[frozenset[str]], Prepared],
    machine: Machine,
    *,
    display: Callable[[], Display],
    again: str,
    tell: Callable[[str], None],
) -> Prepared:
    """Runs what can run, waits for the weights that another process is fetching, and goes on; returns the last plan.

    Of trainings that run at the same time each starts when its own weights are here.

    The plan is made anew after each wait, because it depends on what the files are; `prepare_without` is told which
    steps were carried out already, so that none is forced twice. Raises what carry_out raises.
    """
    done: frozenset[str] = frozenset()
    while True:
        steps = [step for step in prepared.plan.steps if not prepared.plan.rehearsal]
        waits = {step.id: path for step in steps if (path := arriving(prepared, step)) is not None}
        if waits.keys() <= {step.id for step in trainings_at_once(prepared.plan)}:
            for step_id, path in waits.items():
                tell(f"{step_id} waits for {path.name}, which is still being fetched")
            renew = _Renewal(waits, frozenset(step.id for step in steps), prepare_without, machine, again)
            carry_out(prepared, machine, display=display(), again=again, renew=renew)
            return prepared
        _raise_lacking(prepared, machine)
        raise_refusals(steps, again)
        ids = [step.id for step in steps]
        first = next(step for step in ids if step in waits)
        ready = frozenset(ids[: ids.index(first)])
        if any(not step.fresh for step in steps if step.id in ready):
            now = replace(prepared, plan=prepared.plan.only(ready))
            carry_out(now, machine, display=display(), again=again)
            done |= ready
        tell(f"{first} waits for {waits[first].name}, which is still being fetched")
        while is_arriving(waits[first]):
            time.sleep(POLL_SECONDS)
        prepared = prepare_without(done)


class _Renewal:
    """Gives trainings that wait for weights as the plan has them once those are here. The others train meanwhile."""

    def __init__(
        self,
        waits: Mapping[StepId, Path],
        ids: frozenset[str],
        prepare_without: Callable[[frozenset[str]], Prepared],
        machine: Machine,
        again: str,
    ) -> None:
        self._waits, self._ids = waits, ids
        self._prepare_without, self._machine, self._again = prepare_without, machine, again
        self._looked_at: dict[str, float] = {}

    def __call__(self, step: Step) -> Step | None:
        path = self._waits.get(step.id)
        if path is None:
            return step
        now = time.monotonic()
        if now - self._looked_at.get(step.id, -POLL_SECONDS) < POLL_SECONDS:
            return None
        self._looked_at[step.id] = now
        if is_arriving(path):
            return None
        prepared = self._prepare_without(self._ids - {step.id})
        alone = replace(prepared, plan=prepared.plan.only(frozenset({step.id})))
        _raise_lacking(alone, self._machine)
        raise_refusals(alone.plan.steps, self._again)
        (renewed,) = alone.plan.steps
        return renewed


def carry_out(
    prepared: Prepared, machine: Machine, *, display: Display, again: str, renew: Renew | None = None
) -> Outcome:
    """Runs every step that is not fresh; `again` is the command that continues after a failure, `renew` as for execute.

    Raises MachineError for what the machine lacks and RunFolderError for trainings that cannot go on, both before
    anything starts, and what execute raises.
    """
    plan = prepared.plan
    if not plan.rehearsal:
        _raise_lacking(prepared, machine)
    raise_refusals(plan.steps, again)

    cache = cache_folder_of(plan.folder)
    overtaken: list[Path] = []
    added: list[Path] = []
    if machine.known_runs is not None and not plan.rehearsal:
        note_run(machine.known_runs, plan.folder)

    def begin_caches(step: Step) -> None:
        lost = begin(prepared.caches[step.id], cache, prepared.contents)
        if lost and step.fresh:  # otherwise musubi makes them
            raise RunFolderError(
                f"{listed([path.name for path in lost])} could not be taken over: another run changed its caches",
                fix=again,
            )

    def settle_caches(step: Step) -> None:
        overtaken[:] = drop_overtaken(prepared.caches[step.id], prepared.scans, prepared.contents)
        settle(prepared.caches[step.id], cache, prepared.contents)
        added[:] = appeared(prepared.caches[step.id])
        RunFolder(plan.folder).set_aside(added, step.id)

    def verify_all(step: Step) -> Iterator[Finding]:
        changed = []
        if step.id in CACHING and overtaken:
            names = listed([path.name for path in overtaken])
            what = "caption" if step.id == "cache-text" else "file"
            changed.append(f"the {what} of {names} changed while it was being encoded")
        if step.id in CACHING and added:
            names = listed([item_of(path.name) for path in added])
            changed.append(f"{names} came into the dataset while it was being encoded")
        for text in changed:
            yield Finding("", text, "type the same command again")
        if not changed:
            yield from verify(step)

    return execute(
        plan,
        RunFolder(plan.folder),
        display=display,
        verify=verify_all,
        again=again,
        parse=parse,
        diagnose=_causes,
        begin=begin_caches,
        settle=settle_caches,
        renew=renew,
        keep=None if plan.rehearsal else keeping(prepared, lambda device: kind_of(device, read_nvidia(), os.environ)),
        grace_seconds=prepared.spec.stop_grace,
    )


def keeping(prepared: Prepared, gpu: Callable[[str], str | None], now: Callable[[], float] = time.time) -> Keep:
    """Writes what trainings take into the run's folder. `gpu` names the kind of what CUDA_VISIBLE_DEVICES says.

    A disk that refuses costs a later forecast, and nothing else.
    """

    def keep(step: Step, taken: Taken) -> None:
        expert = next((each for each in prepared.spec.experts if each.step == step.id), None)
        if expert is None:
            return
        kind = gpu(step.env.get(GPU_VARIABLE, "0"))
        work = work_of(prepared.spec, expert, prepared.trained, kind, prepared.processes)
        if work is not None:
            measured = Measured(work, prepared.spec.name, now(), taken.steps, taken.seconds, taken.gpu_peak)
            with suppress(OSError):
                store_measured(prepared.plan.folder, step.id, measured)

    return keep


def _raise_lacking(prepared: Prepared, machine: Machine) -> None:
    missing = list(lacking(prepared, machine))
    if missing:
        raise MachineError("this machine lacks what the run needs; nothing was started", findings=missing)


def _causes(program: str, exit_code: int, lines: Sequence[str]) -> Iterator[Finding]:
    diagnosis = diagnose(program, exit_code, lines)
    if diagnosis is not None:
        yield Finding("likely cause", diagnosis.cause, diagnosis.fix)
