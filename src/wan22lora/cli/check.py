"""`wan22lora check`"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wan22lora.cli.choices import MusubiOption
from wan22lora.cli.screen import coloured, width

if TYPE_CHECKING:
    from wan22lora.check.checked import Checked
    from wan22lora.dataset.memory import Memory
    from wan22lora.dataset.scan import Scan

_MANY = 500
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def check(
    what: Annotated[Path, typer.Argument(metavar="RUN.YAML|FOLDER", help="A run, or a folder of pictures or clips.")],
    price: Annotated[
        str | None,
        typer.Option("--price", metavar="2.50/h", help="What an hour of the GPU costs: adds the run's cost."),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE.html",
            help="Also write a contact sheet: a page with every picture, its caption, crop and findings.",
        ),
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Decode every picture, which takes minutes for thousands of PNGs.")
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Turn rotated pictures upright, rename misnamed captions, save them as UTF-8; asks first."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --fix: do not ask.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print findings and forecast as JSON.")] = False,
    musubi: MusubiOption = None,
) -> None:
    """Check pictures, clips and captions; forecast the run.

    All that was found at once, each with why it matters and what to do. Errors stop `train`, warnings and advice do
    not. Nothing is changed without --fix, which mends first and checks then. The exit code is 3 when there are errors.
    What files were seen to be is kept in the user's cache folder, so that unchanged ones are not looked at again.
    """
    from wan22lora.cli.show_check import all_well, as_json, as_text
    from wan22lora.dataset.memory import kept_in
    from wan22lora.errors import DatasetError
    from wan22lora.machine.settings import memory_folder

    hourly = _hourly(price)
    if sheet is not None:
        from wan22lora.sheet.write import refuse_foreign

        refuse_foreign(sheet)
    if yes and not fix:
        raise typer.BadParameter("is for --fix, which asks", param_hint="--yes")
    if fix:
        from wan22lora.cli.mend import mend

        mend(what, yes=yes, quiet=json)
    memory = kept_in(memory_folder())
    try:
        checked = _of_folder(what, memory, thorough) if what.is_dir() else _of_run(what, musubi, memory, thorough)
    finally:
        memory.save()  # also of a check that was stopped
    remarks, forecast = checked.remarks, checked.forecast
    typer.echo(as_json(remarks, forecast, hourly) if json else as_text(remarks, forecast, hourly, width(), _coloured))
    if sheet is not None:
        from wan22lora.sheet.write import write_sheet

        _say_that_it_takes_long(checked.scans, "making thumbnails of")
        write_sheet(sheet, checked, hourly)
        typer.echo(f"The contact sheet is in {sheet}; any browser opens it.", err=json)
    if not all_well(remarks):
        raise typer.Exit(DatasetError.exit_code)


def _of_folder(folder: Path, memory: Memory, thorough: bool) -> Checked:
    from wan22lora.check.checked import Checked
    from wan22lora.check.examine import examine, sources_in
    from wan22lora.check.forecast import forecast_of_folder
    from wan22lora.dataset.scan import scan

    scans = tuple(scan(source, memory) for source in sources_in(folder.absolute(), memory))
    _say_that_it_takes_long(scans)
    findings = [finding for each in scans for finding in each.findings]
    remarks = examine(scans, findings, memory=memory, thorough=thorough)
    return Checked(folder.absolute().name, scans, scans, remarks, forecast_of_folder(scans))


def _of_run(file: Path, musubi: Path | None, memory: Memory, thorough: bool) -> Checked:
    from dataclasses import replace

    from wan22lora.check.checked import Checked
    from wan22lora.check.examine import examine
    from wan22lora.check.forecast import forecast_of_run
    from wan22lora.check.remark import from_finding, worst_first
    from wan22lora.doctor.run_facts import read_run
    from wan22lora.errors import SpecError
    from wan22lora.machine.gpus import usable_gpus
    from wan22lora.machine.nvidia import least_free_gib, read_nvidia
    from wan22lora.machine.settings import read_machine
    from wan22lora.run.carry_out import read_known

    machine, nvidia = read_machine(musubi), read_nvidia()
    machine = replace(machine, gpus=usable_gpus(machine.gpus, nvidia))
    run = read_run(file, machine, lambda: least_free_gib(nvidia, machine.gpus), memory)
    spec = run.spec
    if spec is None:
        raise SpecError(f"{file} cannot be used", findings=run.problems)
    _say_that_it_takes_long(run.scans)
    findings = (*run.problems, *run.dataset_problems)
    trained = run.prepared.trained if run.prepared is not None else run.scans
    remarks = examine(
        run.scans,
        findings,
        trained=trained,
        trigger=spec.trigger,
        trigger_at=spec.where("trigger"),
        style=spec.preset == "style",
        memory=memory,
        thorough=thorough,
    )
    remarks = worst_first([*remarks, *map(from_finding, run.notes)])
    return Checked(
        spec.name, run.scans, trained, remarks, forecast_of_run(run, read_known(spec, machine, nvidia), machine.gpus)
    )


def _say_that_it_takes_long(scans: Sequence[Scan], doing: str = "looking at") -> None:
    count = sum(len(scan.items) for scan in scans)
    if count > _MANY and sys.stderr.isatty():
        typer.echo(f"{doing} {count:,} files …", err=True)


def _hourly(price: str | None) -> float | None:
    if price is None:
        return None
    match = re.fullmatch(r"\D{0,3}(\d{1,9}(?:\.\d+)?)(?:/h)?", price.strip())
    if match is None:
        raise typer.BadParameter("is a number, such as 2.50/h", param_hint="--price")
    return float(match[1])


def _coloured(text: str, level: str) -> str:
    return coloured(text, _COLOURS[level], bold=level == "error")
