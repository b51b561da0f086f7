"""`wan22lora setup`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def setup(
    run_file: Annotated[
        Path | None,
        typer.Argument(metavar="RUN.YAML", help="The run to prepare for; without one, for Wan 2.2 text-to-video."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every command and download with its size; touch nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before starting.")] = False,
    article: Annotated[
        bool, typer.Option("--article", help="The Wan 2.2 article's own versions: musubi-tuner, torch, xformers.")
    ] = False,
    task: Annotated[
        Literal["t2v-A14B", "i2v-A14B", "t2v-14B"] | None,
        typer.Option("--task", help="Whose weights to fetch, without a RUN.YAML."),
    ] = None,
    no_models: Annotated[bool, typer.Option("--no-models", help="Fetch no weights.")] = False,
    musubi: Annotated[
        Path | None,
        typer.Option("--musubi", metavar="DIR", help="Use musubi-tuner's checkout here, or make it here."),
    ] = None,
    musubi_repo: Annotated[
        str | None, typer.Option("--musubi-repo", metavar="URL", help="Get musubi-tuner from another place.")
    ] = None,
    torch: Annotated[
        Literal["cu124", "cu128", "cu130", "cpu"] | None,
        typer.Option("--torch", help="A certain build of torch; otherwise the one that fits the driver."),
    ] = None,
) -> None:
    """Get musubi-tuner, its Python environment and the weights.

    Safe to repeat: what is right is skipped, and what an interrupted setup left half done is put right.
    """
    from wan22lora.setup.job import Job, ask_first, look, work
    from wan22lora.setup.show import plan_as_text

    job = Job(run_file, musubi, article=article, build=torch, repository=musubi_repo, models=not no_models, task=task)
    if dry_run:
        typer.echo(plan_as_text(look(job)))
        return
    if not yes:
        ask_first()
    work(job, typer.echo, agreed=None if yes else lambda: typer.confirm("Start?", default=True))
