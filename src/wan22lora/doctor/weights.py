"""Checks of the weights and of T5's tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wan22lora.dataset.problems import listed
from wan22lora.doctor.check import Check, failure, gb, ok, warning
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.stored import Stored
from wan22lora.errors import command
from wan22lora.models.catalogue import TASK_NAMES
from wan22lora.spec.tasks import TaskName

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_FETCH = ("wan22lora", "models", "fetch")
_LIST = "wan22lora models list"


def needed(facts: Facts) -> tuple[Stored, ...]:
    """The files that the run reads; without a run those of one task, since being complete for one is enough."""
    if facts.run is not None and facts.run.spec is not None:
        return tuple(file for file in facts.stored if not file.idle)
    task = (*_complete(facts), *_begun(facts), *TASK_NAMES)[0]
    return tuple(file for file in facts.stored if task in file.tasks)


def weights(facts: Facts) -> Iterator[Check]:
    files = needed(facts)
    problems = facts.run.weights_problems if facts.run is not None else ()
    for finding in problems:
        yield failure("weights", f"{finding.where}: {finding.message}.", finding.fix)
    said = {finding.where.rpartition(" ")[2] for finding in problems}
    for file in files:
        if file.wrong and f"models.{file.role}" not in said:
            fix = f"models: {{{file.role}: PATH}} in run.yaml" if file.named else f"wan22lora models fetch {file.name}"
            yield failure(f"weights-{file.name}", f"{file.path} {file.wrong}.", fix)
        elif file.missing and file.named:
            text = f"{file.path}, which run.yaml names, is not there."
            yield failure(f"weights-{file.name}", text, command("ls", file.path.parent))
        elif file.arriving:
            yield warning(f"weights-{file.name}", f"{file.path} is being fetched.", _LIST)
    fetched = [file for file in files if file.to_fetch]
    if fetched:
        text = f"{_names(fetched)} {'is' if len(fetched) == 1 else 'are'} not in {facts.machine.models}"
        size = gb(sum(file.left for file in fetched))
        yield failure("weights", f"{text} ({size} to fetch).", command(*_FETCH, *(file.name for file in fetched)))
    there = [file for file in files if file.there and not file.wrong]
    complete = _complete(facts)
    if facts.run is not None and there and not problems:
        yield ok("weights", f"{_names(there)}: headers are as they should be")
    elif facts.run is None and complete:
        yield ok("weights", f"Weights for {listed(complete, ' and ')} are in {facts.machine.models}")


def tokenizer(facts: Facts) -> Iterator[Check]:
    found = facts.tokenizer
    if found is not None and not found.missing:
        yield ok("tokenizer", f"T5's tokenizer is in {found.hub}")
        return
    text = "T5's tokenizer is not on this machine"
    if found is not None:
        text = f"T5's tokenizer in {found.hub} lacks {listed(found.missing, ' and ')}"
    fix = command(*_FETCH, "tokenizer")
    offline = next((name for name in _OFFLINE if facts.variables.get(name, "0") not in ("", "0")), "")
    hidden = found is not None and found.hub == facts.machine.hub
    if offline or hidden:
        why = f"{offline} keeps musubi-tuner from fetching it" if offline else "musubi-tuner would look nowhere else"
        yield failure("tokenizer", f"{text}, and {why}.", fix)
    else:
        yield warning("tokenizer", f"{text}; musubi-tuner would fetch it in the middle of caching.", fix)


def _complete(facts: Facts) -> list[TaskName]:
    """The tasks whose files are all there."""
    return [
        task
        for task in TASK_NAMES
        if _files_of(facts, task) and all(file.there and not file.wrong for file in _files_of(facts, task))
    ]


def _begun(facts: Facts) -> list[TaskName]:
    """The tasks of which a file is there that no other task shares."""
    return [
        task
        for task in TASK_NAMES
        if any((file.there or file.arriving) and file.tasks == (task,) for file in _files_of(facts, task))
    ]


def _files_of(facts: Facts, task: TaskName) -> list[Stored]:
    return [file for file in facts.stored if task in file.tasks]


def _names(files: Sequence[Stored]) -> str:
    return listed((file.path.name for file in files), " and ")
