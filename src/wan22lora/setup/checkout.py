"""From whatever is in musubi's folder to a checkout of the pinned commit."""

from __future__ import annotations

import json

from wan22lora.errors import Finding, command
from wan22lora.musubi.pins import Pin
from wan22lora.setup.model import Action, Expect, Move, Remove, Run, Step, Write
from wan22lora.setup.survey import MOVING, Checkout

REPOSITORY = "https://github.com/kohya-ss/musubi-tuner.git"
GIGABYTES = 0.1
"""About what a clone of it takes."""


def checkout_refusal(checkout: Checkout, pin: Pin) -> Finding | None:
    """Why setup will not touch this folder; only what loses nothing of a person's is done without a word."""
    path = str(checkout.path)
    if checkout.state == "not-git":
        text = "has files in it and is no git checkout, so nobody knows which musubi-tuner it is"
        return Finding(path, text, "name another folder with --musubi, or move this one away")
    if checkout.state == "refused":
        trusting = command("git", "config", "--global", "--add", "safe.directory", path)
        fix = trusting if "ownership" in checkout.problem else ""
        return Finding(path, f"cannot be asked for its commit: {checkout.problem}", fix)
    if checkout.state == "absent" or checkout.head == pin.revision or checkout.moving:
        return None
    where = f"is at {checkout.head[:12]}, and {pin.name} is {pin.revision[:12]}"
    if checkout.changed:
        text = f"{where}; it has changes that are in no commit ({_some(checkout.changed)})"
        keeping = command("git", "-C", path, "stash")
        return Finding(path, text, f"{keeping}, or name another folder with --musubi")
    if checkout.nameless:
        text = f"{where}; its commit is on no branch, so leaving it would lose it"
        keeping = command("git", "-C", path, "branch", "mine")
        return Finding(path, text, f"{keeping}, or name another folder with --musubi")
    return None


def checkout_step(checkout: Checkout, pin: Pin, repository: str) -> Step:
    """The step for a folder that `checkout_refusal` has nothing against."""
    title = f"musubi-tuner {pin.name} ({pin.revision[:7]}) in {checkout.path}"
    tidy = (Remove(checkout.partial),) if checkout.partial.exists() else ()
    if checkout.state == "absent":
        why = "an earlier setup was stopped in the middle of it" if tidy else "not there yet"
        return Step("musubi", title, False, why, (*tidy, *_clone(checkout, pin, repository)), GIGABYTES)
    if checkout.moving:
        why = f"an earlier setup was stopped on the way to {pin.revision[:7]}"
        return Step("musubi", title, False, why, (*tidy, *_moved(checkout, pin, repository)), 0)
    if checkout.head != pin.revision:
        why = f"it is at {checkout.head[:7]}, without changes of its own; its branches stay as they are"
        return Step("musubi", title, False, why, (*tidy, *_moved(checkout, pin, repository)), 0)
    return Step("musubi", title, not tidy, "it is at this commit", tidy)


def checkout_notes(checkout: Checkout, pin: Pin) -> tuple[Finding, ...]:
    if checkout.head == pin.revision and checkout.changed and not checkout.moving:
        text = f"has changes that are in no commit ({_some(checkout.changed)}); they are left as they are"
        return (Finding(str(checkout.path), text, level="warning"),)
    return ()


def _clone(checkout: Checkout, pin: Pin, repository: str) -> tuple[Action, ...]:
    partial = str(checkout.partial)
    return (
        Run(("git", "clone", "--no-checkout", repository, partial)),
        _fetch(partial, pin, repository),
        Run(("git", "-C", partial, "checkout", "--quiet", "--detach", pin.revision)),
        _verified(partial, pin),
        Move(checkout.partial, checkout.path),
    )


def _moved(checkout: Checkout, pin: Pin, repository: str) -> tuple[Action, ...]:
    """git's own changes are told from a person's by a file that stands while git works.

    It is written only where there was nothing to lose, so with it there the half-changed files may be overwritten.
    """
    path = str(checkout.path)
    moving = checkout.git_folder / MOVING
    forced = ("--force",) if checkout.moving else ()
    lock = checkout.git_folder / "index.lock"
    return (
        _fetch(path, pin, repository),
        *(() if checkout.moving else (Write(moving, json.dumps({"from": checkout.head, "to": pin.revision}) + "\n"),)),
        *((Remove(lock),) if checkout.moving and lock.exists() else ()),
        Run(("git", "-C", path, "checkout", "--quiet", *forced, "--detach", pin.revision)),
        _verified(path, pin),
        Remove(moving),
    )


def _fetch(path: str, pin: Pin, repository: str) -> Run:
    """The article's commit is on a branch that may be gone one day; by its name it is found all the same."""
    there = ("git", "-C", path, "cat-file", "-e", f"{pin.revision}^{{commit}}")
    return Run(("git", "-C", path, "fetch", repository, pin.revision), unless=there)


def _verified(path: str, pin: Pin) -> Expect:
    text = f"the checkout is not at {pin.revision}, so it is not the musubi-tuner that wan22lora knows"
    return Expect(("git", "-C", path, "rev-parse", "HEAD"), pin.revision, text)


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
