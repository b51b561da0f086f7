"""Checks of musubi-tuner's checkout."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.dataset.problems import listed
from wan22lora.doctor.check import Check, failure, ok, warning
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.repair import setup
from wan22lora.errors import command
from wan22lora.musubi.pins import PINS


def checkout(facts: Facts) -> Iterator[Check]:
    folder, found = facts.machine.musubi, facts.checkout
    said = "" if facts.machine.musubi_from == "the default place" else f" (named by {facts.machine.musubi_from})"
    if found.state == "missing":
        yield failure("musubi", f"musubi-tuner is not there: {folder}{said}.", setup(facts))
    elif found.state == "something else":
        yield failure("musubi", f"{folder}{said} is no checkout of musubi-tuner.", setup(facts))
    elif found.commit is None:
        text = f"{folder} holds musubi-tuner, but nobody knows which revision: {found.trouble or 'git does not say'}."
        yield warning("musubi", text, setup(facts))
    elif found.commit != facts.pin.revision:
        known = next((f"the pin `{pin.name}`" for pin in PINS if pin.revision == found.commit), found.commit[:7])
        what = "this run is" if facts.run is not None else "runs are"
        text = f"{folder} is at {known}, and {what} planned for {facts.pin.name} ({facts.pin.revision[:7]})."
        git = ("git", "-C", folder)
        fetch = command(*git, "fetch", "origin", facts.pin.revision)
        yield failure("musubi", text, f"{fetch} && {command(*git, 'checkout', facts.pin.revision)}")
    else:
        yield ok("musubi", f"{facts.pin.title} ({facts.pin.revision[:7]}) in {folder}")
        yield from _changes(facts)


def _changes(facts: Facts) -> Iterator[Check]:
    folder, found = facts.machine.musubi, facts.checkout
    if found.modified is None:
        text = f"It is not known whether files in {folder} were changed: {found.trouble}."
        owner = "dubious ownership" in found.trouble
        fix = command("git", "config", "--global", "--add", "safe.directory", folder) if owner else ""
        yield warning("musubi-changes", text, fix)
    elif found.modified:
        count = len(found.modified)
        files = "1 file of the checkout differs" if count == 1 else f"{count} files of the checkout differ"
        text = f"{files} from the revision: {listed(found.modified, ' and ')}."
        yield warning("musubi-changes", text, command("git", "-C", folder, "stash", "-u"))
