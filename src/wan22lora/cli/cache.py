"""`wan22lora cache`"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wan22lora.cli.choices import (
    DryRunOption,
    ForceOption,
    MusubiOption,
    RehearseOption,
    RunFileArgument,
    forced,
)

if TYPE_CHECKING:
    from wan22lora.plan.inventory import CacheFile


def cache(
    run_file: RunFileArgument,
    only_text: Annotated[bool, typer.Option("--only-text", help="Captions only; touches no latents.")] = False,
    only_latents: Annotated[bool, typer.Option("--only-latents", help="Pictures and clips only.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List what is cached, how large, and made from what.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Say for each file to be made again what changed.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove what this run no longer uses; asks first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --clean: do not ask.")] = False,
    dry_run: DryRunOption = False,
    rehearse: RehearseOption = False,
    force: ForceOption = None,
    json: Annotated[bool, typer.Option("--json", help="With --list, --why or --dry-run: print it as JSON.")] = False,
    musubi: MusubiOption = None,
) -> None:
    """Encode what is new or changed, or look at what is cached.

    Nothing is trained; --list, --why and --clean encode nothing.
    """
    looking = [name for name, given in (("--list", list_), ("--why", why), ("--clean", clean)) if given]
    encoding = [name for name, given in (("--dry-run", dry_run), ("--force", force is not None)) if given]
    if len(looking) > 1 or (looking and encoding):
        raise typer.BadParameter(f"{' and '.join([*looking, *encoding])} do not go together")
    if only_text and only_latents:
        raise typer.BadParameter("give one of --only-text and --only-latents, or none")
    if yes and not clean:
        raise typer.BadParameter("is for --clean", param_hint="--yes")
    if json and not (list_ or why or dry_run):
        raise typer.BadParameter("is for --list, --why or --dry-run", param_hint="--json")

    kept = {"cache-text"} if only_text else {"cache-latents"} if only_latents else {"cache-latents", "cache-text"}
    if looking:
        folder, files = _files(run_file, musubi, rehearse=rehearse)
        files = [file for file in files if f"cache-{file.kind}" in kept]
        if clean:
            _clean(folder, [file for file in files if file.removable], yes=yes)
        else:
            _show(folder, files, why=why, as_json=json)
        return

    from wan22lora.cli.job import Typed, carry_out_or_show

    chosen_by = ("--only-text",) if only_text else ("--only-latents",) if only_latents else ()
    typed = Typed("cache", run_file, musubi=musubi, rehearse=rehearse, force=forced(force), chosen_by=chosen_by)
    carry_out_or_show(typed, steps=lambda _: frozenset(kept), dry_run=dry_run, as_json=json)


def _files(run_file: Path, musubi: Path | None, *, rehearse: bool) -> tuple[Path, Sequence[CacheFile]]:
    from wan22lora.dataset.memory import kept_in
    from wan22lora.machine.settings import memory_folder, read_machine
    from wan22lora.plan.build import prepare
    from wan22lora.plan.inventory import inventory
    from wan22lora.plan.sources import cache_folder_of
    from wan22lora.run.carry_out import read_history
    from wan22lora.spec.load import load_spec

    machine = read_machine(musubi)
    spec = load_spec(
        run_file,
        gpu_free_gib=lambda: None,  # no cache depends on it
        rehearsal=rehearse,
    )
    history = read_history(spec.folder, machine, rehearsal=rehearse)
    prepared = prepare(spec, machine, history, rehearsal=rehearse, memory=kept_in(memory_folder()))
    return cache_folder_of(spec.folder), inventory(prepared, history.manifest)


def _show(folder: Path, files: Sequence[CacheFile], *, why: bool, as_json: bool) -> None:
    from wan22lora.cli import show_caches

    if as_json:
        kept = [file for file in files if not why or file.standing != "current"]
        typer.echo(show_caches.as_json(folder, kept))
        return
    for line in show_caches.as_reasons(files) if why else show_caches.as_list(folder, files):
        typer.echo(line)


def _clean(folder: Path, files: Sequence[CacheFile], *, yes: bool) -> None:
    from wan22lora.cli.show_caches import to_remove
    from wan22lora.run.cleaning import clean

    if not files:
        typer.echo("nothing to remove: the run uses every file that it made")
        return
    for line in to_remove(folder, files):
        typer.echo(line)
    if not yes:
        if not sys.stdin.isatty():
            typer.echo("nothing was removed; --yes removes them")
            return
        if not typer.confirm("Remove them?"):
            typer.echo("nothing was removed")
            return
    clean(folder, [file.path for file in files])
    typer.echo("removed")
