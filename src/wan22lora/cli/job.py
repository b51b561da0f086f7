"""What `train` and `cache` share: from a run.yaml to its plan, then show it or carry it out."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import typer

from wan22lora.check.forecast_lines import with_forecast
from wan22lora.cli.choices import refuse_idle
from wan22lora.cli.screen import fitted, say
from wan22lora.cli.show import plan_as_json, plan_as_script
from wan22lora.cli.summary import summary
from wan22lora.dataset.memory import kept_in
from wan22lora.errors import DatasetError
from wan22lora.machine.gpus import usable_gpus
from wan22lora.machine.nvidia import least_free_gib, read_nvidia
from wan22lora.machine.ram import read_ram
from wan22lora.machine.settings import cpu_cores, memory_folder, read_machine
from wan22lora.plan.at_once import at_once
from wan22lora.plan.build import prepare
from wan22lora.plan.caching_at_once import caching_at_once
from wan22lora.plan.continuation import EXTEND, raise_refusals
from wan22lora.plan.lacking import lacking
from wan22lora.plan.prepared import Prepared
from wan22lora.run.carry_out import carry_out_as_weights_arrive, read_history, read_known
from wan22lora.run.left_running import wait_for_left_running
from wan22lora.run.relief import carry_out_with_relief
from wan22lora.run.view import display_for
from wan22lora.spec.load import load_spec
from wan22lora.spec.resolved import Spec


@dataclass(frozen=True)
class Typed:
    """A command as it was typed."""

    command: Literal["train", "cache"]
    run_file: Path
    musubi: Path | None
    rehearse: bool
    force: frozenset[str]
    restart: bool = False
    extend: bool = False
    chosen_by: tuple[str, ...] = ()
    """The option that leaves steps out, with its value."""

    @property
    def again(self) -> str:
        """The command that goes on: without what is asked for once (`--force`, `--restart`)."""
        rehearse = ["--rehearse"] if self.rehearse else []
        musubi = ["--musubi", str(self.musubi)] if self.musubi is not None else []
        return shlex.join(["wan22lora", self.command, str(self.run_file), *rehearse, *self.chosen_by, *musubi])


def carry_out_or_show(
    typed: Typed, *, steps: Callable[[tuple[str, ...]], frozenset[str]], dry_run: bool, as_json: bool
) -> None:
    """`steps` chooses from the ids of the trainings which steps to keep; `as_json` is for `dry_run`."""
    job = _Job(typed, steps)
    if dry_run:
        job.show(as_json=as_json)
    else:
        job.carry_out()


class _Job:
    """A run.yaml on this machine; its plan is made as often as what it depends on changes."""

    def __init__(self, typed: Typed, steps: Callable[[tuple[str, ...]], frozenset[str]]) -> None:
        self._typed = typed
        machine, self._nvidia = read_machine(typed.musubi), read_nvidia()
        self._machine = replace(machine, gpus=usable_gpus(machine.gpus, self._nvidia))
        self._spec = self._loaded()
        ram = None if typed.rehearse else read_ram()
        self._ram_available = None if ram is None else ram.available
        self._wanted = steps(tuple(expert.step for expert in self._spec.experts))
        refuse_idle(typed.force, self._wanted)
        self._memory = kept_in(memory_folder())

    def show(self, *, as_json: bool) -> None:
        """Writes nothing."""
        prepared = self._with_forecast(self._plan(self._spec, frozenset()))
        not_here = () if self._typed.rehearse else lacking(prepared, self._machine)
        typer.echo(plan_as_json(prepared) if as_json else plan_as_script(prepared, not_here))
        _refuse_wrong_dataset(prepared, outcome="")
        raise_refusals(prepared.plan.steps, self._typed.again, outcome="")

    def carry_out(self) -> None:
        if wait_for_left_running(self._spec.folder, self._spec.stop_grace, say):
            self._spec = self._loaded()  # the GPU has more room now
        prepared = self._with_forecast(self._plan_and_remember(self._spec, frozenset()))
        _refuse_wrong_dataset(prepared, outcome="; nothing was started")
        for finding in (*prepared.plan.notes, *prepared.dataset_findings):
            say(fitted(finding.told), err=True)
        carried_out = carry_out_with_relief(
            self._spec, partial(self._carry_out, prepared), scans=prepared.scans, tell=say
        )
        for line in summary(carried_out):
            say(line)

    def _loaded(self) -> Spec:
        return load_spec(self._typed.run_file, gpu_free_gib=self._gpu_free_gib, rehearsal=self._typed.rehearse)

    def _gpu_free_gib(self) -> float | None:
        return None if self._typed.rehearse else least_free_gib(read_nvidia(), self._machine.gpus)

    def _plan(self, spec: Spec, done: frozenset[str]) -> Prepared:
        """`done` are steps that this command has carried out, which is not asked of them again."""
        typed = self._typed
        prepared = prepare(
            spec,
            self._machine,
            read_history(spec.folder, self._machine, rehearsal=typed.rehearse),
            rehearsal=typed.rehearse,
            force=typed.force - done,
            restart=self._wanted - done if typed.restart else frozenset(),
            extend=typed.extend,
            memory=self._memory,
        )
        chosen = replace(prepared, plan=prepared.plan.only(self._wanted))
        cores, ram = cpu_cores(), self._ram_available
        beside = at_once(chosen, self._machine.gpus, cores=cores, ram_available=ram)
        return caching_at_once(beside, cores=cores, ram_available=ram)

    def _plan_and_remember(self, spec: Spec, done: frozenset[str]) -> Prepared:
        try:
            return self._plan(spec, done)
        finally:
            self._memory.save()

    def _with_forecast(self, prepared: Prepared) -> Prepared:
        if self._typed.rehearse:
            return prepared
        return with_forecast(prepared, read_known(prepared.spec, self._machine, self._nvidia))

    def _carry_out(self, first: Prepared, spec: Spec, tried: frozenset[str]) -> Prepared:
        """`first` is the plan for as long as no step was `tried`."""
        return carry_out_as_weights_arrive(
            self._plan_and_remember(spec, tried) if tried else first,
            lambda done: self._plan_and_remember(spec, done | tried),
            self._machine,
            display=lambda: display_for(spec.folder),
            again=self._typed.again + (EXTEND if self._typed.extend else ""),
            tell=say,
        )


def _refuse_wrong_dataset(prepared: Prepared, *, outcome: str) -> None:
    errors = [finding for finding in prepared.dataset_findings if finding.level == "error"]
    if errors:
        raise DatasetError(f"the dataset would not train as it should{outcome}", findings=errors)
