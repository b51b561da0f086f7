"""The options of the trainer that musubi's own training program does not have.

Only the standard library: the plan reads this table too, so that what it passes and what is parsed cannot differ.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainerOption:
    """One option: its name without dashes, the type of its value, its default (None: it must be given) and its use."""

    name: str
    type: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    """The values there are, where not every one of the type is."""


OPTIONS: tuple[TrainerOption, ...] = (
    TrainerOption("ledger", Path, None, "the run's events.jsonl; each event is appended to it as one line"),
    TrainerOption("step_id", str, None, "which step of the run this is: train-high, train-low or train"),
    TrainerOption("states", Path, None, "where states are kept; the newest whole one is continued from"),
    TrainerOption("states_every_minutes", float, 10.0, "minutes between two states; 0 for none between"),
    TrainerOption("states_every_steps", int, 0, "optimizer steps between two states; 0 for none between"),
    TrainerOption("states_keep_last", int, 2, "whole states that stay; older ones are removed"),
    TrainerOption("max_nan_steps", int, 3, "consecutive steps without a finite loss after which the training stops"),
    TrainerOption("disk_patience", float, 1800.0, "seconds to wait for space on a full disk before stopping"),
    TrainerOption("preservation_weight", float, 0.0, "weight of the preservation loss; 0 for no preservation"),
    TrainerOption("preservation_every", int, 1, "preserve in every so many batches, weighted as many times"),
    TrainerOption("preservation_probability", float, 1.0, "preserve in this share of batches, weighted by its inverse"),
    TrainerOption("preservation_folder", str, "", "folder of the class captions' caches, inside each dataset's cache"),
    TrainerOption("held_out", str, "", "a file that names the items kept out of the training, one a line"),
    TrainerOption("validate_every_steps", int, 0, "optimizer steps between two validations; 0 for none"),
    TrainerOption("validation_timesteps", int, 8, "timesteps at which each held-out item is validated"),
    TrainerOption(
        "speed",
        str,
        "reference",
        "reference: by musubi's modules; fast: the same in less time; max: nearly the same in fp8",
        ("reference", "fast", "max"),
    ),
    TrainerOption(
        "activation_budget", float, 1.0, "fast, max: share, 0 to 1, of what can be kept for the backward pass"
    ),
    TrainerOption(
        "weights_cast_once", int, 0, "1 keeps cast weights (max: transposed ones) instead of making them each time"
    ),
    TrainerOption(
        "processes", int, 1, "processes that share the batches, each with a GPU; the first starts the others"
    ),
    TrainerOption("ema_decay", float, 0.0, "decay of the averaged LoRA that is saved beside the plain one; 0 for none"),
)


REFUSED = {
    "resume": "the training continues from the newest state by itself",
    "config_file": "options are given by name here, where a misspelt one is noticed",
    "dit_high_noise": "it would train one LoRA for both experts; train each by itself",
    "show_timesteps": "it trains nothing; musubi's own program shows them",
}
"""Options of musubi's program that the trainer does not take, and why."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Puts the options into musubi's parser, in a group of their own."""
    group = parser.add_argument_group("wan22lora")
    for option in OPTIONS:
        group.add_argument(
            f"--{option.name}",
            type=option.type,
            default=option.default,
            required=option.default is None,
            choices=option.choices or None,
            help=option.help,
        )
