"""A plan for people (a shell script that can be pasted or run) and for machines (JSON)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator

from wan22lora.dataset.problems import counted
from wan22lora.errors import Finding
from wan22lora.musubi.programs import is_program
from wan22lora.plan.at_once import trainings_at_once
from wan22lora.plan.by_hand import content_of_note, note_file, times_of
from wan22lora.plan.model import PlannedFile, Step
from wan22lora.plan.prepared import Prepared
from wan22lora.plan.sources import cache_folder_of
from wan22lora.plan.states import FINISHED_FILES, FOLDER, KEY_FILE, finished_file
from wan22lora.run.caching import ARRIVING
from wan22lora.run.folder import RunFolder
from wan22lora.run.outputs import earlier_outputs


def plan_as_json(prepared: Prepared) -> str:
    """`{"files": [{"path", "content"}], "steps": [{"id", "argv", "cwd", "env", "fresh", "why", …}]}`"""
    plan = prepared.plan
    steps = [
        {
            "id": step.id,
            "argv": list(step.argv),
            "cwd": str(step.cwd),
            "env": dict(step.env),
            "fresh": step.fresh,
            "why": step.why,
            "after": list(step.after),
            **({"predicted_steps": step.predicted_steps} if step.predicted_steps is not None else {}),
            **({"continues": str(step.continues.path)} if step.continues is not None else {}),
            **({"refused": [each.message for each in step.refusal.findings]} if step.refusal is not None else {}),
        }
        for step in plan.steps
    ]
    files = [{"path": str(file.path), "content": file.content} for file in plan.files]
    return json.dumps({"files": files, "steps": steps}, indent=2, ensure_ascii=False)


def plan_as_script(prepared: Prepared, not_here: Iterable[Finding]) -> str:
    """The plan as a shell script: facts as comments, files as here-documents, steps as commands.

    `not_here` is what the machine lacks to run it.
    """
    return "\n".join(_script(prepared, not_here))


def _script(prepared: Prepared, not_here: Iterable[Finding]) -> Iterator[str]:
    yield from _facts(prepared)
    for note in (*prepared.plan.notes, *prepared.dataset_findings, *not_here):
        yield from _comment(note)
    yield ""
    yield "set -e"
    for folder in sorted({str(file.path.parent) for file in prepared.plan.files} | _needed_folders(prepared)):
        yield f"mkdir -p {shlex.quote(folder)}"
    for file in prepared.plan.files:
        yield from _file(file)
    run_folder = RunFolder(prepared.plan.folder)
    steps = [step for step in prepared.plan.steps if not step.fresh and step.refusal is None]
    if any(not step.id.startswith("cache-") for step in steps):
        yield ""
        yield "stamp=$(date -u +%Y%m%dT%H%M%SZ)"
    for step in steps:
        if step.anew:  # now, so that nothing continues the old training if an earlier step fails
            yield from _left_behind(step, run_folder)
    beside = [step.id for step in trainings_at_once(prepared.plan) if step.refusal is None]
    for step in prepared.plan.steps:
        yield from _step(step, run_folder, _note(prepared, step), background=step.id in beside)
    if beside:
        yield from _wait_for(beside)


def _needed_folders(prepared: Prepared) -> set[str]:
    folder = RunFolder(prepared.plan.folder)
    return {str(folder.output), str(folder.steps), *(str(scan.source.cache) for scan in prepared.scans)}


def _facts(prepared: Prepared) -> Iterator[str]:
    spec = prepared.spec
    choices = f"preset {spec.preset or 'none'}, hardware {spec.hardware}, musubi-tuner {spec.pin.name}"
    yield f"# {spec.name}: {spec.task.name}, {choices}"
    if prepared.plan.rehearsal:
        yield "# REHEARSAL: stand-ins play musubi's programs; nothing is trained."
    for scan, trained in zip(prepared.scans, prepared.trained, strict=True):
        source = scan.source
        repeats = f", repeated {source.repeats} times" if source.repeats > 1 else ""
        yield f"# {source.place}: {counted(len(scan.items), source.noun)}{repeats}"
        yield from (f"#   bucket {load}" for load in trained.loads)
    if prepared.held_out:
        names = ", ".join(item.path.name for item in prepared.held_out.items(prepared.scans))
        yield f"# held out for the validation: {names}"
    yield f"# {counted(prepared.batches_per_epoch, 'batch')} an epoch"
    for step in prepared.plan.steps:
        if step.predicted_steps is not None:
            yield f"# {step.id}: {counted(step.predicted_steps, 'optimizer step')}"


def _comment(finding: Finding) -> Iterator[str]:
    yield "#"
    told = f"stops the run: {finding}" if finding.level == "error" else finding.told
    for line in told.splitlines():
        yield f"# {line}"


def _file(file: PlannedFile) -> Iterator[str]:
    yield ""
    yield f"cat > {shlex.quote(str(file.path))} <<'END'"
    yield file.content.rstrip("\n")
    yield "END"


def _note(prepared: Prepared, step: Step) -> PlannedFile | None:
    """What says of a caching that it has ended well, and of what; None for a training."""
    state = prepared.caches.get(step.id)
    if state is None:
        return None
    times = times_of(prepared.scans, prepared.contents) if state.kind == "latents" else {}
    file = note_file(cache_folder_of(prepared.plan.folder), state.kind)
    return PlannedFile(file, content_of_note(state.missing, state.expected, times))


def _step(step: Step, run_folder: RunFolder, note: PlannedFile | None, *, background: bool) -> Iterator[str]:
    yield ""
    why = " ".join(step.why.splitlines())  # it may quote a setting of several lines
    yield f"# {step.id}: {'fresh, would be skipped: ' if step.fresh else ''}{why}"
    lines = list(_command(step)) if note is not None else list(_training(step, run_folder, background=background))
    stale = list(_own_files(step, run_folder))
    if step.fresh or step.refusal is not None:
        yield from (f"# {part}" for line in lines for part in line.splitlines())
        yield from stale
    else:
        yield from (*stale, *lines, *(_file(note) if note is not None else ()))


def _own_files(step: Step, run_folder: RunFolder) -> Iterator[str]:
    """What becomes of the cache files of a step before it runs or is skipped. Links come first, because what they link
    to may be removed. A script that is run again finds that done and goes on."""
    arriving = {path: path.with_name(f"{ARRIVING}{number}") for number, path in enumerate(step.taken)}
    for path, temporary in arriving.items():
        old, new = shlex.quote(str(step.taken[path])), shlex.quote(str(temporary))
        yield f"mkdir -p {shlex.quote(str(path.parent))}; if [ -e {old} ]; then ln -f {old} {new} || cp {old} {new}; fi"
    if step.foreign:
        shelf = shlex.quote(str(run_folder.previous / f"foreign-{step.id}"))
        yield f"mkdir -p {shelf}"
        for path in step.foreign:
            name = shlex.quote(str(path))
            yield f"if [ -e {name} ]; then mv {name} {shelf}/; fi"
    yield from (f"rm -f {shlex.quote(str(path))}" for path in step.stale)
    for path, temporary in arriving.items():  # mv refuses to put a file in its own place
        new, target = shlex.quote(str(temporary)), shlex.quote(str(path))
        yield f"if [ -e {new} ]; then rm -f {target} && mv {new} {target}; fi"


def _training(step: Step, run_folder: RunFolder, *, background: bool) -> Iterator[str]:
    if not step.fresh:
        yield from _apart(step, run_folder)
    lines = [*_command(step), *(() if step.fresh else _finished(step, run_folder))]
    yield from _in_background(step, lines) if background else lines


def _apart(step: Step, run_folder: RunFolder) -> Iterator[str]:
    """What keeps a training apart from the result and the states of another one, as the runner does it."""
    if not step.anew:
        yield from _left_behind(step, run_folder)
    if step.states is None:
        return
    yield f"mkdir -p {shlex.quote(str(step.states))}"
    yield f"cat > {shlex.quote(str(step.states / KEY_FILE))} <<'END'"
    yield json.dumps(step.key, indent=2, ensure_ascii=False)
    yield "END"


def _left_behind(step: Step, run_folder: RunFolder) -> Iterator[str]:
    key = shlex.quote(str(run_folder.key_file(step.id)))
    shelf = f'{shlex.quote(str(run_folder.previous))}/"$stamp"-{step.id}'
    for path in (*step.writes, run_folder.key_file(step.id)) if step.longer else ():
        old = shlex.quote(str(path))
        copy = f"{{ ln {old} {shelf}/ || cp -p {old} {shelf}/; }}"
        yield f"if [ -e {key} ] && [ -e {old} ]; then mkdir -p {shelf} && {copy}; fi"
    if step.states is not None and step.ended_at is not None:
        yield f"if [ -e {key} ]; then mv {key} {shlex.quote(str(step.states / finished_file(step.ended_at)))}; fi"
    yield f"rm -f {key}"
    if step.continues is not None:
        return
    states = run_folder.states / step.id
    for path in dict.fromkeys((states, *earlier_outputs(step), *step.writes)):
        old = shlex.quote(str(path))
        new = f"{shelf}/{FOLDER if path == states else shlex.quote(path.name)}"
        yield f"if [ -e {old} ]; then mkdir -p {shelf} && mv {old} {new}; fi"


def _finished(step: Step, run_folder: RunFolder) -> Iterator[str]:
    """What comes after a command that ended well: the key of the training is that of a finished one now."""
    key = run_folder.key_file(step.id)
    if step.states is None:
        yield from _file(PlannedFile(key, json.dumps(step.key, indent=2, ensure_ascii=False)))
        return
    yield f"cp {shlex.quote(str(step.states / KEY_FILE))} {shlex.quote(str(key))}"
    yield f"rm -f {shlex.quote(str(step.states))}/{FINISHED_FILES}"


def _in_background(step: Step, lines: Iterable[str]) -> Iterator[str]:
    yield "("
    yield from lines
    yield ") &"
    yield f"{_variable(step.id)}=$!"


def _wait_for(steps: Iterable[str]) -> Iterator[str]:
    yield ""
    yield "# they train at the same time; when one fails, the other goes on to its end"
    yield "failed=0"
    for step in steps:
        yield f'wait "${_variable(step)}" || {{ failed=$?; echo "{step} failed with exit code $failed" >&2; }}'
    yield '[ "$failed" -eq 0 ]'


def _variable(step: str) -> str:
    return step.replace("-", "_")


def _command(step: Step) -> Iterator[str]:
    """One command over several lines, an option to a line."""
    yield f"cd {shlex.quote(str(step.cwd))}"  # by itself: `set -e` passes over what `&&` follows
    yield "env " + " ".join(f"{name}={shlex.quote(value)}" for name, value in step.env.items()) + " \\"
    lines: list[list[str]] = [[]]
    for token in step.argv:
        if token.startswith("--") or token.endswith(".py") or is_program(token):
            lines.append([])
        lines[-1].append(shlex.quote(token))
    for index, line in enumerate(lines):
        last = index == len(lines) - 1
        yield ("" if index == 0 else "  ") + " ".join(line) + ("" if last else " \\")
