"""Every option of every step against the contract of the pinned revision, told in run.yaml's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from wan22lora.errors import Finding
from wan22lora.musubi.contract import Contract
from wan22lora.musubi.options import OWNED_OPTIONS, TRAIN_OPTIONS, Option, argv_of
from wan22lora.spec.layers import Origin
from wan22lora.spec.resolved import Expert, StepOptions

_KEY_OF = {option: f"train.{key}" for key, option in TRAIN_OPTIONS}


def doubled(given: Mapping[str, object], origins: Mapping[str, Origin]) -> Iterator[Finding]:
    """Options under `musubi:` that this program sets itself."""
    for name in given:
        if name in OWNED_OPTIONS:
            key = _KEY_OF.get(name)
            fix = f"write it as {key}" if key else "remove it"
            yield Finding(str(origins[name]), "is set by this program from its own key", fix)


def contract_findings(
    contract: Contract, program: str, options: Iterable[Option], owner: Expert | StepOptions
) -> Iterator[Finding]:
    """What the pinned program would not understand."""
    options = list(options)
    yield from _switched_off(contract, program, owner)
    keys = {f"--{option.name}": option.key for option in options}
    for problem in contract.problems(program, argv_of(options)):
        key = keys.get(problem.option, problem.option)
        if key in OWNED_OPTIONS and key in _given(owner):
            continue  # doubled has told it
        if isinstance(owner, Expert):
            where = str(owner.option_origins[key]) if key in owner.option_origins else owner.where(key)
        else:
            where = str(owner.origins[key]) if key in owner.origins else key
        yield Finding(where, str(problem))


def _switched_off(contract: Contract, program: str, owner: Expert | StepOptions) -> Iterator[Finding]:
    """`false` puts nothing on a command line, so the command line cannot show that the name is wrong."""
    origins = owner.option_origins if isinstance(owner, Expert) else owner.origins
    known = contract.programs[program]
    for name in (name for name, value in _given(owner).items() if value is False):
        option = known.get(f"--{name}")
        if option is None:
            for problem in contract.problems(program, (f"--{name}",)):
                if problem.option == f"--{name}":
                    yield Finding(str(origins[name]), str(problem))
        elif option.kind == "value":
            yield Finding(str(origins[name]), f"--{name} takes a value; false is none", "leave it out, or null")


def _given(owner: Expert | StepOptions) -> Mapping[str, object]:
    return owner.options if isinstance(owner, Expert) else owner.values
