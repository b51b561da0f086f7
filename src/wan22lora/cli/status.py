"""`wan22lora status`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wan22lora.cli.choices import RunFileArgument


def status(
    run_file: RunFileArgument,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Of the run's rehearsal.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything that is known as JSON.")] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option("--tensorboard", metavar="DIR", help="Write the trainings' curves there for TensorBoard, too."),
    ] = None,
) -> None:
    """Say how far the run of RUN.YAML is, or how it ended.

    Works while it runs, and for a run that was killed. Nothing of the run is changed.
    """
    import time
    from json import dumps

    from wan22lora.errors import MachineError, RunFolderError, command
    from wan22lora.report.scalars import write_tensorboard
    from wan22lora.run.folder import RunFolder
    from wan22lora.run.ledger import read_events
    from wan22lora.run.state import fold
    from wan22lora.run.status import as_json, as_text, is_running
    from wan22lora.spec.load import REHEARSAL, load_spec

    spec = load_spec(run_file, gpu_free_gib=lambda: None, rehearsal=rehearse)
    folder = RunFolder(spec.folder)
    running = is_running(folder.path)  # before reading: what ends meanwhile has told so by then
    state = fold(read_events(folder.events))
    if not state.steps:
        fix = command("wan22lora", "train", run_file, *(["--rehearse"] if rehearse else []))
        rehearsed = RunFolder(spec.folder.with_name(spec.folder.name + REHEARSAL))
        if not rehearse and rehearsed.events.is_file():
            fix += f"\n→ {command('wan22lora', 'status', run_file, '--rehearse')}   looks at its rehearsal"
        trained = any(folder.output.glob("*.safetensors"))  # by musubi's own program, which tells the ledger nothing
        held = "holds files in output/, and no run that wan22lora has started" if trained else "holds no run yet"
        raise RunFolderError(f"{folder.path} {held}", fix=fix)
    if json:
        typer.echo(dumps(as_json(state, folder.path, running=running), indent=2, ensure_ascii=False))
    else:
        typer.echo(as_text(state, folder.path, running=running, now=time.time()))
    if tensorboard is not None:
        try:
            files = write_tensorboard(read_events(folder.events), tensorboard)
        except OSError as error:
            raise MachineError(f"the curves cannot be written to {tensorboard}: {error.strerror}") from None
        viewed = command("tensorboard", "--logdir", tensorboard)
        typer.echo(f"curves of {', '.join(files) or 'no training yet'}: {viewed}", err=True)
