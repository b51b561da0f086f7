"""What `train` and `cache` share: from a run.yaml to its plan, then show it or carry it out."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import typer


def carry_out_or_show(
    run_file: Path,
    *,
    musubi: Path | None,
    rehearse: bool,
    force: frozenset[str],
    steps: Callable[[tuple[str, ...]], frozenset[str]],
    dry_run: bool,
    as_json: bool,
    restart: bool = False,
    extend: bool = False,
    chosen_by: tuple[str, ...] = (),
) -> None:
    """`steps` chooses from the ids of the trainings which steps to keep; `chosen_by` is what was typed for that."""
    from dataclasses import replace

    from wan22lora.check.forecast_lines import with_forecast
    from wan22lora.cli.choices import refuse_idle
    from wan22lora.cli.screen import fitted, say
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

    if as_json and not dry_run:
        raise typer.BadParameter("is for --dry-run: it prints the plan", param_hint="--json")
    machine = read_machine(musubi)
    nvidia = read_nvidia()
    machine = replace(machine, gpus=usable_gpus(machine.gpus, nvidia))

    def loaded() -> Spec:
        return load_spec(
            run_file,
            gpu_free_gib=lambda: None if rehearse else least_free_gib(read_nvidia(), machine.gpus),
            rehearsal=rehearse,
        )

    spec = loaded()
    ram = None if rehearse else read_ram()
    wanted = steps(tuple(expert.step for expert in spec.experts))
    refuse_idle(force, wanted)
    memory = kept_in(memory_folder())

    def prepare_without(spec: Spec, done: frozenset[str]) -> Prepared:
        try:
            prepared = prepare(
                spec,
                machine,
                read_history(spec.folder, machine, rehearsal=rehearse),
                rehearsal=rehearse,
                force=force - done,
                restart=wanted - done if restart else frozenset(),
                extend=extend,
                memory=memory,
            )
        finally:
            if not dry_run:
                memory.save()
        chosen = replace(prepared, plan=prepared.plan.only(wanted))
        available = ram.available if ram is not None else None
        beside = at_once(chosen, machine.gpus, cores=cpu_cores(), ram_available=available)
        return caching_at_once(beside, cores=cpu_cores(), ram_available=available)

    def carry_out(spec: Spec, tried: frozenset[str]) -> Prepared:
        return carry_out_as_weights_arrive(
            prepare_without(spec, tried) if tried else prepared,
            lambda done: prepare_without(spec, done | tried),
            machine,
            display=lambda: display_for(spec.folder),
            again=again + (EXTEND if extend else ""),
            tell=say,
        )

    if not dry_run and wait_for_left_running(spec.folder, spec.stop_grace, say):
        spec = loaded()  # the GPU has more room now
    prepared = prepare_without(spec, frozenset())
    again = _again("train" if "train" in "".join(wanted) else "cache", run_file, musubi, rehearse, chosen_by)
    if not rehearse:
        prepared = with_forecast(prepared, read_known(prepared.spec, machine, nvidia))
    errors = [finding for finding in prepared.dataset_findings if finding.level == "error"]
    if dry_run:
        from wan22lora.cli.show import plan_as_json, plan_as_script

        not_here = () if rehearse else lacking(prepared, machine)
        typer.echo(plan_as_json(prepared) if as_json else plan_as_script(prepared, not_here))
    if errors:
        outcome = "" if dry_run else "; nothing was started"
        raise DatasetError(f"the dataset would not train as it should{outcome}", findings=errors)
    if dry_run:
        raise_refusals(prepared.plan.steps, again, outcome="")
    else:
        for finding in (*prepared.plan.notes, *prepared.dataset_findings):
            say(fitted(finding.told), err=True)
        for line in summary(carry_out_with_relief(spec, carry_out, scans=prepared.scans, tell=say)):
            say(line)


def _again(command: str, run_file: Path, musubi: Path | None, rehearse: bool, chosen_by: tuple[str, ...]) -> str:
    """The command that goes on: what was typed, without what is asked for once (`--force`, `--restart`)."""
    words = ["wan22lora", command, str(run_file), *(["--rehearse"] if rehearse else []), *chosen_by]
    return shlex.join([*words, *(["--musubi", str(musubi)] if musubi is not None else [])])
