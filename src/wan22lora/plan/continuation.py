"""Whether a training runs, and where it begins: at its first step, at a state, or not before a person has decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wan22lora.errors import Finding, RunFolderError
from wan22lora.plan.model import Refusal, Step
from wan22lora.plan.states import Kept, State
from wan22lora.plan.training import OF_FILES_ALONE, OF_LENGTH, damage, differences, why_train

RESTART, EXTEND = " --restart", " --extend"
REHEARSE = "--rehearse"
FRESH = "trained, and nothing changed since"


@dataclass(frozen=True)
class Asked:
    """What the command line asks of trainings that ran before, by the ids of steps."""

    again: frozenset[str] = frozenset()
    """Those that `--force` names: they run though nothing changed."""
    restart: frozenset[str] = frozenset()
    """Those that begin at their first step, whatever is there of them."""
    extend: bool = False
    """Trainings that are to become longer go on from their states."""


@dataclass(frozen=True)
class Before:
    """What there is of one training."""

    done: Mapping[str, str]
    """The key that it was finished with; empty where it is not finished."""
    kept: Kept
    writes: tuple[Path, ...]
    """The files of its result."""
    say_learned: Callable[[str], str] = lambda _: ""
    """What is different since a digest of pictures and captions, in words."""

    @property
    def nothing(self) -> bool:
        kept = self.kept
        return not (self.done or kept.newest or kept.damaged or kept.key or any(path.exists() for path in self.writes))


@dataclass(frozen=True)
class Turn:
    """What becomes of one training; the fields of Step that it decides."""

    why: str
    fresh: bool = False
    continues: State | None = None
    anew: bool = False
    refusal: Refusal | None = None


def turn_of(
    step: str, key: Mapping[str, str], before: Before, asked: Asked, *, total: int | None, extension: bool
) -> Turn:
    """`total` is how many optimizer steps the training is to have; `extension` whether it can go on from a state."""
    if step in asked.restart:
        return Turn("not trained yet") if before.nothing else Turn("asked for with --restart", anew=True)
    turn = _under_extension(step, key, before, asked, total) if extension else _plain(step, key, before, asked)
    if step in asked.again and (turn.fresh or turn.continues or turn.refusal):
        return Turn("asked for", anew=extension)
    return turn


def _plain(step: str, key: Mapping[str, str], before: Before, asked: Asked) -> Turn:
    why = why_train(key, before.done, before.writes, before.say_learned)
    if asked.extend and before.done and why:
        return _refused(step, {"": "musubi's own program (trainer: plain) cannot continue, so it cannot be extended"})
    state = before.kept.newest
    if state is not None and not before.done:
        said = f"has a state of step {state.step:,} of the trainer extension, from which musubi's own program cannot"
        return _refused(step, {"": f"{said} continue"}, otherwise="trainer: extension in run.yaml: goes on from it")
    return Turn(why or FRESH, fresh=not why)


def _under_extension(step: str, key: Mapping[str, str], before: Before, asked: Asked, total: int | None) -> Turn:
    state = before.kept.newest
    if before.done:
        changes = differences(before.done, key, before.say_learned)
        lost = damage(before.writes)
        if state is not None and before.kept.key != before.done:
            state = None  # of another training than the finished one
        if not changes and not lost:
            return Turn(FRESH, fresh=True)
    elif state is None and before.kept.damaged:
        return _refused(step, {"": f"all its states are damaged: {', '.join(before.kept.damaged)}"})
    elif state is None:
        return Turn("not trained yet")
    elif not before.kept.key:
        return _refused(step, {"": f"its states in {state.path.parent} do not say what they were trained with"})
    else:
        changes = _of_what_is_learned(differences(before.kept.key, key, before.say_learned))
        lost = ""
    if changes:
        return _changed(step, changes, state, asked, total, f"put that back: {step} {_once_it_is_back(before, lost)}")
    if state is None:
        return Turn(lost)
    return Turn(f"{lost}{'; ' if lost else ''}{_continues(state, total)}", continues=state)


def _once_it_is_back(before: Before, lost: str) -> str:
    if before.done:
        return "makes its file again" if lost else "is finished"
    assert before.kept.newest is not None  # or there would be nothing that could have changed
    return f"goes on at step {before.kept.newest.step:,}"


def _changed(
    step: str, changes: Mapping[str, str], state: State | None, asked: Asked, total: int | None, back: str
) -> Turn:
    """`back` is what a person may do instead of deciding."""
    only_length = set(_of_what_is_learned(changes)) <= OF_LENGTH
    longer = only_length and state is not None and total is not None and total > state.total
    if not asked.extend:
        return _refused(step, changes, extendable=longer, otherwise=back)
    if state is not None and longer:
        return Turn(f"extended: {'; '.join(changes.values())}; {_continues(state, total)}", continues=state)
    if state is None and only_length:
        changes = {**changes, "": "no state of it is left, so it cannot be extended"}
    return _refused(step, changes, otherwise=back)


def _of_what_is_learned(changes: Mapping[str, str]) -> dict[str, str]:
    return {part: change for part, change in changes.items() if part not in OF_FILES_ALONE}


def _continues(state: State, total: int | None) -> str:
    return f"continues at step {state.step:,} of {state.total if total is None else total:,}"


def passed_over(step: str, kept: Kept, turn: Turn) -> Iterator[Finding]:
    """A warning for every damaged state without which a training goes on from an older one."""
    if turn.continues is not None:
        for state in kept.damaged:
            name, _, wrong = state.partition(" ")
            went_on = f"the state {name} is damaged {wrong}; continues at step {turn.continues.step:,}"
            yield Finding(step, went_on, level="warning")


def _refused(step: str, changes: Mapping[str, str], *, extendable: bool = False, otherwise: str = "") -> Turn:
    findings = tuple(Finding(step, change) for change in changes.values())
    why = f"refused: {'; '.join(changes.values())}"
    return Turn(why, refusal=Refusal(findings, extendable, otherwise))


def _together(ways: Iterable[str]) -> list[str]:
    """One for all that begin alike: `put that back: train-high is finished, train-low goes on at step 36`."""
    ends: dict[str, list[str]] = {}
    for way in dict.fromkeys(ways):
        beginning, _, end = way.partition(": ")
        ends.setdefault(beginning, []).append(end)
    return [f"{beginning}: {', '.join(each)}" for beginning, each in ends.items()]


def raise_refusals(steps: Iterable[Step], command: str, outcome: str = "; nothing was started") -> None:
    """Raises RunFolderError with all that speaks against running these steps, and the ways out; `command` is what was
    typed."""
    refused = [(step, step.refusal) for step in steps if step.refusal is not None]
    if not refused:
        return
    command = command.removesuffix(EXTEND)
    told: dict[str, list[str]] = {}
    for finding in (finding for _, refusal in refused for finding in refusal.findings):
        told.setdefault(finding.message, []).append(finding.where)
    rehearsed = REHEARSE in command.split()
    anew = "rehearses anew; nothing was trained" if rehearsed else "trains anew; what is there moves to previous/"
    ways = [f"{command}{RESTART}: {anew}"]
    if all(refusal.extendable for _, refusal in refused):
        ways.append(f"{command}{EXTEND}: goes on to the new end")
    ways += _together(refusal.otherwise for _, refusal in refused if refusal.otherwise)
    names = " and ".join(step.id for step, _ in refused)
    raise RunFolderError(
        f"{names} cannot go on under what run.yaml says now{outcome}",
        findings=[Finding(" and ".join(where), message) for message, where in told.items()],
        fix="\n→ ".join(ways),
    )
