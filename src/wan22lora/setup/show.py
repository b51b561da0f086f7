"""The plan of a setup as a person reads it: a shell script that comes down to the same."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from wan22lora.models.places import target
from wan22lora.models.previous import what_becomes_of
from wan22lora.setup.model import Action, Expect, Fetch, Move, Plan, Prove, Record, Remove, Run, Step, Write


def plan_as_text(plan: Plan) -> str:
    """Facts, what speaks against it, and every command and download in order."""
    return "\n".join(_lines(plan))


def plan_in_short(plan: Plan) -> str:
    """What was found and what would be done, a line each."""
    lines = [*plan.facts, ""]
    lines += [f"{number}. {step_as_line(step)}" for number, step in enumerate(plan.steps, 1)]
    return "\n".join(lines)


def step_as_line(step: Step) -> str:
    """One line for a step: what and why."""
    size = f", about {_gigabytes(step.download_gb)} to download" if step.download_gb and not step.fresh else ""
    return f"{step.title}: {step.why}{size}"


def _lines(plan: Plan) -> Iterator[str]:
    for fact in plan.facts:
        yield f"# {fact}"
    for finding in (*plan.refusals, *plan.notes):
        level = "stops setup" if finding.level == "error" else "warning"
        yield "#"
        for line in f"{level}: {finding}".splitlines():
            yield f"# {line}"
    for number, step in enumerate(plan.steps, 1):
        yield ""
        yield f"# {number}. {step_as_line(step)}"
        for action in step.actions:
            yield from action_as_shell(action)


def action_as_shell(action: Action) -> Iterator[str]:
    """A command that does the same, or a comment where there is none."""
    if isinstance(action, Run):
        yield _command(action)
    elif isinstance(action, Expect):
        yield f'test "$({shlex.join(action.argv)})" = {shlex.quote(action.output)}'
    elif isinstance(action, Remove):
        yield f"rm -rf {_quoted(action.path)}"
    elif isinstance(action, Move):
        yield f"mv -T {_quoted(action.source)} {_quoted(action.target)}"
    elif isinstance(action, Write):
        yield f"mkdir -p {_quoted(action.path.parent)}"
        yield f"echo {shlex.quote(action.content.rstrip())} > {_quoted(action.path)}"
    elif isinstance(action, Prove):
        yield f"{_quoted(action.python)} -c 'import torch, musubi_tuner'  # and what else a run imports"
    elif isinstance(action, Record):
        yield f"# into {action.file}:"
        for key, value in action.settings.items():
            yield f"#   {key}: {value}"
    elif isinstance(action, Fetch):
        yield from _downloads(action)


def _downloads(fetch: Fetch) -> Iterator[str]:
    """A line for each, the tokenizer's small files together."""
    for name in dict.fromkeys(found.file.name for found in fetch.files):
        files = [found for found in fetch.files if found.file.name == name]
        size = _gigabytes(sum(found.left for found in files) / 1e9)
        file = files[0].file
        path = file.path if len(files) == 1 else f"{file.path.rpartition('/')[0]}/ ({len(files)} files)"
        place = target(fetch.models, file)
        place = place if len(files) == 1 else place.parent
        yield f"# {size:>8}  {file.repository} {path}"
        yield f"#           → {place.relative_to(fetch.models)}"
        for found in files:
            if found.state == "wrong":
                yield f"#           {found.path} {found.why}"
                yield f"#           it {what_becomes_of(fetch.models, found)}"


def _command(run: Run) -> str:
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in run.env.items())
    command = f"{variables} {shlex.join(run.argv)}".strip()
    return f"{shlex.join(run.unless)} || \\\n  {command}" if run.unless else command


def _gigabytes(count: float) -> str:
    if count < 0.1:
        return f"{count * 1000:.1f} MB"
    return f"{count:.1f} GB"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
