"""`wan22lora models list|fetch|verify|use`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The weight files: which are here, fetching, checking.", no_args_is_help=True)

TaskOption = Annotated[
    str | None, typer.Option("--task", metavar="TASK", help="t2v-A14B, i2v-A14B or t2v-14B; only what it needs.")
]
NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Files by their names in `models list`.")
]
DEFAULT_TASK = "t2v-A14B"


@app.command("list")
def list_models(task: TaskOption = None) -> None:
    """What there is, how large, where, and whether it is right.

    Right by its size and its header; `models verify` reads files whole.
    """
    from wan22lora.machine.settings import read_machine
    from wan22lora.models.catalogue import files_of, task_named
    from wan22lora.models.report import table
    from wan22lora.models.state import standings

    models = read_machine().models
    for line in table(models, standings(models, files_of(task_named(task)))):
        typer.echo(line)


@app.command("fetch")
def fetch_models(
    names: NamesArgument = None,
    task: TaskOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched; ask nobody.")] = False,
) -> None:
    """Fetch what is missing or wrong from the Hugging Face Hub.

    Without names what t2v-A14B needs. A fetch that was stopped goes on where it was. A wrong file is kept beside the
    right one, as NAME.previous. HF_TOKEN or `hf auth login` give a token where one is needed.
    """
    from wan22lora.machine.settings import read_machine
    from wan22lora.models.catalogue import files_named, task_named
    from wan22lora.models.fetch import fetch, lacking_space, to_fetch
    from wan22lora.models.progress import reporter_for
    from wan22lora.models.report import plan_lines, summary

    if not names and task is None:
        task = DEFAULT_TASK
    files, models = files_named(names or (), task_named(task)), read_machine().models
    wanted = to_fetch(models, files)
    for line in plan_lines(models, wanted):
        typer.echo(line)
    if dry_run:
        if (lack := lacking_space(models, wanted)) is not None:
            typer.echo(str(lack))
        return
    fetch(models, files, reporter=reporter_for(typer.echo))
    if wanted:
        typer.echo(summary(wanted))


@app.command("verify")
def verify_models(names: NamesArgument = None, task: TaskOption = None) -> None:
    """Read files whole and compare their hashes.

    Without names all that are here.
    """
    from wan22lora.errors import Finding, MachineError, command
    from wan22lora.machine.settings import read_machine
    from wan22lora.models.catalogue import files_named, task_named
    from wan22lora.models.hub import Hub
    from wan22lora.models.progress import reporter_for
    from wan22lora.models.state import standings
    from wan22lora.models.verify import verify

    models, reporter, hub = read_machine().models, reporter_for(typer.echo), Hub()
    wrong = []
    all_found = standings(models, files_named(names or (), task_named(task)))
    found_here = [found for found in all_found if found.state != "missing" or names]
    if not found_here:
        typer.echo(f"nothing to verify: no weights are in {models}")
    for found in found_here:
        reporter.begin(found.file.title, found.arrived or found.file.size, 0)
        verdict = verify(models, found.file, hub=hub, advance=reporter.advance)
        reporter.end()
        typer.echo(f"{found.file.title}: {verdict.path} {verdict.text}")
        if verdict.right is False:
            fetching = ("wan22lora", "models", "fetch", found.file.name)
            fix = command(*fetching) if found.state == "missing" else command("rm", verdict.path)
            wrong.append(Finding(str(verdict.path), verdict.text, fix))
    if wrong:
        raise MachineError("Not every file is what it should be.", findings=wrong)


@app.command("use")
def use_models(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of models (ComfyUI's, say) or one file.")],
    task: TaskOption = None,
    serves_as: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="What a file is, where its name does not tell.")
    ] = None,
) -> None:
    """Use weights that are on this machine already.

    A folder is recorded in machine.yaml, and what it lacks will be fetched into it; a file is linked into the folder
    of models.
    """
    from wan22lora.errors import MachineError
    from wan22lora.machine.settings import read_machine, settings_path, write_machine
    from wan22lora.models.catalogue import files_named, task_named
    from wan22lora.models.report import inventory_lines
    from wan22lora.models.use import inventory, take_file
    from wan22lora.spec.paths import path_from

    path, chosen = path_from(path, "PATH"), task_named(task)
    files = files_named([serves_as] if serves_as else (), chosen)
    if path.is_file():
        file, link = take_file(path, files, read_machine().models)
        typer.echo(f"{path.name} is used as {file.name}: {link}")
        return
    found = inventory(path, files)
    for line in inventory_lines(found):
        typer.echo(line)
    if found.wrong:
        raise MachineError(f"{found.folder} was not taken.", findings=found.wrong)
    write_machine(models=found.folder)
    typer.echo(f"{settings_path()} now says models: {found.folder}")
