"""The revisions of musubi-tuner that wan22lora drives; nothing is promised about any other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """One revision of musubi-tuner: what we call it, its full commit, and a line for a person."""

    name: str
    revision: str
    title: str


V0_3_4 = Pin("v0.3.4", "30c658c4f4b0bf05038b3346eff9670259b10fc7", "musubi-tuner v0.3.4")
ARTICLE = Pin(
    "article",
    "d0a193061a23a51c90664282205d753605a641c1",
    "musubi-tuner as the Wan 2.2 article used it (August 2025)",
)

PINS = (V0_3_4, ARTICLE)
DEFAULT = V0_3_4


def pin_named(name: str) -> Pin:
    """The pin called `name`, or the one whose full commit `name` is; ValueError for anything else."""
    for pin in PINS:
        if name in (pin.name, pin.revision):
            return pin
    known = ", ".join(f"{pin.name} ({pin.revision})" for pin in PINS)
    raise ValueError(f"unknown musubi-tuner revision {name!r}; known are {known}")
