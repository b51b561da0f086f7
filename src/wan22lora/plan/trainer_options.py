"""Settings → options of the trainer extension, beside those of musubi's program that it takes too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from wan22lora.errors import Finding
from wan22lora.musubi.contract import Contract, Kind, ValueType
from wan22lora.musubi.contract import Option as Known
from wan22lora.musubi.options import Option, Value, argv_of, text
from wan22lora.plan.class_captions import class_folder
from wan22lora.spec.extension import PreservationSettings, StateSettings
from wan22lora.spec.fast import computes_fast
from wan22lora.spec.resolved import Expert, Spec
from wan22lora.trainer.options import OPTIONS

LEDGER_FILE = "events.jsonl"
"""Its name in the run folder."""
PROGRAM = "wan22lora's trainer"
_DEFAULTS: Mapping[str, object] = {option.name: option.default for option in OPTIONS}
_TYPES: Mapping[type, ValueType] = {str: "str", int: "int", float: "float", Path: "Path"}
_VALUE: Kind = "value"


def trainer_options(
    spec: Spec, expert: Expert, *, states: Path, held_out: Path | None, processes: int = 1
) -> list[Option]:
    """The extension's own options for one expert; those that have their default are left out.

    `held_out` is the file that names the items kept out of the training.
    """
    given = [
        ("ledger", spec.folder / LEDGER_FILE, "folder"),
        ("step_id", expert.step, "task"),
        ("states", states, "folder"),
        *_of_states(expert.settings.states or StateSettings()),
        ("max_nan_steps", expert.settings.max_nan_steps, "max_nan_steps"),
        *(_of_preservation(expert.settings.preservation) if expert.settings.preservation else ()),
        ("ema_decay", expert.settings.ema.decay if expert.settings.ema else None, "ema"),
        *(_of_validation(spec, held_out) if held_out is not None else ()),
        ("processes", processes, "parallel"),
        *(_of_speed(spec, expert) if computes_fast(spec, expert) else ()),
    ]
    return [
        Option(name, (text(value),), key)
        for name, value, key in given
        if value is not None and value != _DEFAULTS.get(name)
    ]


def _of_speed(spec: Spec, expert: Expert) -> Iterator[tuple[str, Value | None, str]]:
    yield "speed", spec.speed, "speed"
    yield "activation_budget", None if expert.kept.everything else expert.kept.share, "speed"
    yield "weights_cast_once", int(expert.kept.cast_once), "speed"


def _of_states(states: StateSettings) -> Iterator[tuple[str, Value | None, str]]:
    yield "states_every_minutes", states.every_minutes, "states"
    yield "states_every_steps", states.every_steps, "states"
    yield "states_keep_last", states.keep_last, "states"


def _of_preservation(preservation: PreservationSettings) -> Iterator[tuple[str, Value | None, str]]:
    yield "preservation_weight", preservation.weight, "preservation"
    yield "preservation_every", preservation.every, "preservation"
    yield "preservation_probability", preservation.probability, "preservation"
    yield "preservation_folder", class_folder(preservation.class_), "preservation"


def _of_validation(spec: Spec, held_out: Path) -> Iterator[tuple[str, Value | None, str]]:
    yield "held_out", held_out, "validation"
    if spec.validation is not None:
        yield "validate_every_steps", spec.validation.every_steps, "validation"
        yield "validation_timesteps", spec.validation.timesteps, "validation"


def trainer_findings(contract: Contract, options: Iterable[Option], expert: Expert) -> Iterator[Finding]:
    """What the extension would not understand, as `contract_findings` tells it of musubi's programs."""
    options = list(options)
    keys = {f"--{option.name}": option.key for option in options}
    for problem in Contract(contract.revision, {PROGRAM: _known()}).problems(PROGRAM, argv_of(options)):
        yield Finding(expert.where(keys.get(problem.option, problem.option)), str(problem))


def _known() -> dict[str, Known]:
    return {
        f"--{option.name}": Known(
            f"--{option.name}", _VALUE, _TYPES[option.type], default=option.default, required=option.default is None
        )
        for option in OPTIONS
    }
