"""The keys of what happens inside the trainer extension and what musubi's own program cannot do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from wan22lora.spec.keys import Keys, Positive

FileName = Annotated[str, StringConstraints(min_length=1)]


class PreservationSettings(Keys):
    """What must not change: the class of things that the trigger is one of."""

    class_: Annotated[str, StringConstraints(min_length=1)] = Field(alias="class")
    """What takes the trigger's place in the captions: `person`, `woman`, `car`."""
    weight: Positive = 1.0
    """How much the preservation loss counts beside the usual one (1 when left out)."""
    every: int | None = Field(default=None, ge=1)
    """Preserve in every so many batches, weighted as many times (1 when neither this nor `probability` is given). Such
    a batch takes two further passes through the model, one of them without gradients."""
    probability: float | None = Field(default=None, gt=0, le=1)
    """Preserve in this share of the batches, drawn at random, weighted by its inverse."""


class EmaSettings(Keys):
    """A moving average of the LoRA's weights."""

    decay: float = Field(gt=0, lt=1)
    """The share of the average that each step keeps. 0.999 looks back over about 1000 steps."""


class StateSettings(Keys):
    """States: all that a training needs to continue exactly where it was."""

    every_minutes: Positive | None = None
    """Minutes between two states (10 when left out)."""
    every_steps: int | None = Field(default=None, ge=1)
    """Also save one after every so many steps."""
    keep_last: int | None = Field(default=None, ge=1)
    """How many states stay on disk (2 when left out); older ones are removed."""


class ValidationSettings(Keys):
    """A loss on items that are not trained, with the same noise each time."""

    hold_out: Annotated[int, Field(ge=1)] | Annotated[tuple[FileName, ...], Field(min_length=1)]
    """Which items are kept out of the training: how many, or the names of their files."""
    every_steps: int = Field(default=50, ge=1)
    """Steps between two validations (50 when left out)."""
    timesteps: int = Field(default=8, ge=1, le=64)
    """At how many timesteps, spread over the expert's range, each item is measured (8 when left out)."""
