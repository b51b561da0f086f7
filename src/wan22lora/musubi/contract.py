"""What each of musubi's programs accepts at a pinned revision, and what is wrong with a command line for it.

The data in contract/*.json was read out of the programs' own argparse parsers. Two things are stricter here
than in argparse: abbreviated option names are refused, and so is an option given twice.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Literal, NamedTuple

from wan22lora.musubi.pins import PINS, Pin

Kind = Literal["flag", "value"]
ValueType = Literal["str", "int", "float", "int_or_float", "Path"]

# A negative number to the argparse of Python 3.10 to 3.12; "-1e-4" is none to it and needs "--option=-1e-4".
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")
_IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "int_or_float": "a number of steps, a ratio below 1, or a percentage such as 5%",
}


@dataclass(frozen=True)
class Option:
    """One option of one program. `nargs` is None for exactly one value; `type` is None for a flag."""

    name: str
    kind: Kind
    type: ValueType | None
    choices: tuple[str, ...] = ()
    nargs: Literal["*"] | int | None = None
    default: object = None
    required: bool = False

    def read(self, text: str) -> object:
        """The value that the program would make of `text`; ValueError when it would refuse it."""
        if self.type == "int":
            return int(text)
        if self.type == "float":
            return float(text)
        if self.type == "int_or_float":  # training/parser_common.py:20-32
            if text.endswith("%"):
                return float(text[:-1]) / 100
            number = float(text)
            return int(number) if number >= 1 and number.is_integer() else number
        return text


@dataclass(frozen=True)
class Problem:
    """What is wrong with one option of a command line; `message` reads on after the option's name."""

    option: str
    message: str

    def __str__(self) -> str:
        return f"{self.option} {self.message}"


@dataclass(frozen=True)
class Contract:
    """The options of every program that wan22lora starts, at one revision of musubi-tuner."""

    revision: str
    programs: Mapping[str, Mapping[str, Option]]

    def problems(self, program: str, argv: Sequence[str]) -> list[Problem]:
        """All that is wrong with `argv`, the words after the program's name; KeyError: no such program."""
        options = self.programs[program]
        found: list[Problem] = []
        seen: set[str] = set()
        for use in _uses(options, argv):
            option = options.get(use.name)
            if option is None:
                found.append(Problem(use.name, self._unknown(program, use)))
                continue
            if use.name in seen:
                found.append(Problem(use.name, "is given twice"))
            seen.add(use.name)
            elsewhere = self._at_other_pins(program, use.name)
            found.extend(Problem(use.name, message) for message in _misuse(option, use, elsewhere))
        missing = (option.name for option in options.values() if option.required and option.name not in seen)
        return found + [Problem(name, f"is missing; {program} does not start without it") for name in missing]

    def _unknown(self, program: str, use: _Use) -> str:
        if not use.name.startswith("-"):
            return "stands where an option is expected"
        elsewhere = self._at_other_pins(program, use.name)
        if elsewhere:
            return f"exists at {', '.join(elsewhere)} but not at {self.title}"
        owners = [name for name, options in self.programs.items() if use.name in options]
        if owners:
            return f"is an option of {owners[0]}, not of {program}"
        return f"is not an option of {program} at {self.title}{_did_you_mean(use.name, self.programs[program])}"

    def _at_other_pins(self, program: str, name: str) -> dict[str, Option]:
        others = {pin.name: load_contract(pin).programs for pin in PINS if pin.revision != self.revision}
        return {pin: programs[program][name] for pin, programs in others.items() if name in programs.get(program, {})}

    @property
    def title(self) -> str:
        """The pin's name, or the short commit where it has none."""
        return next((pin.name for pin in PINS if pin.revision == self.revision), self.revision[:7])


class _Use(NamedTuple):
    """An option on a command line: `inline` stands after "=", `values` are the words up to the next option."""

    name: str
    inline: str | None
    values: tuple[str, ...]


def _uses(options: Mapping[str, Option], argv: Sequence[str]) -> list[_Use]:
    uses: list[_Use] = []
    for word in argv:
        name, equals, inline = word.partition("=")
        if _is_value(options, word) and uses:
            uses[-1] = uses[-1]._replace(values=(*uses[-1].values, word))
        elif word not in options and equals and not _is_value(options, word):
            uses.append(_Use(name, inline, ()))
        else:
            uses.append(_Use(word, None, ()))
    return uses


def _is_value(options: Mapping[str, Option], word: str) -> bool:
    """Whether argparse takes the word for a value rather than for an option (argparse._parse_optional)."""
    if len(word) < 2 or word[0] != "-":
        return True
    if word in options or word.partition("=")[0] in options:
        return False
    return _NEGATIVE_NUMBER.fullmatch(word) is not None or " " in word


def _misuse(option: Option, use: _Use, elsewhere: Mapping[str, Option]) -> list[str]:
    given, left_over = (use.values, ()) if use.inline is None else ((use.inline,), use.values)
    if option.kind == "flag":
        words = " ".join(given + left_over)
        return [f"is a flag and takes no value; remove {words!r}"] if given else []
    count = 1 if option.nargs is None else option.nargs
    if isinstance(count, int):
        if len(given) < count:
            return [_too_few(count)]
        given, left_over = given[:count], given[count:] + left_over
    found = [message for value in given for message in _wrong_value(option, value, elsewhere)]
    if left_over:
        found.append(f"takes {len(given)} value{'s'[: len(given) - 1]}; {' '.join(left_over)!r} is too much")
    return found


def _too_few(count: int) -> str:
    if count == 1:
        return "needs a value (one that starts with - and is no plain number is given as --option=value)"
    return f"needs {count} values with spaces between them"


def _wrong_value(option: Option, value: str, elsewhere: Mapping[str, Option]) -> list[str]:
    try:
        option.read(value)
    except ValueError:
        return [f"must be {_IN_WORDS[option.type or 'str']}, not {value!r}"]
    if not option.choices or value in option.choices:
        return []
    knowing = [pin for pin, other in elsewhere.items() if value in other.choices]
    if knowing:
        return [f"takes {value!r} at {', '.join(knowing)} only"]
    return [f"must be one of {', '.join(option.choices)}, not {value!r}{_did_you_mean(value, option.choices)}"]


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    """Compared without leading dashes and with "-" as "_", as the usual slips of a pen go."""
    bare = {name.lstrip("-"): name for name in known}
    near = difflib.get_close_matches(word.lstrip("-").replace("-", "_"), bare, n=1)
    return f"; did you mean {bare[near[0]]}?" if near else ""


@functools.cache
def load_contract(pin: Pin) -> Contract:
    """The contract of a pinned revision, read once from the package's data."""
    path = resources.files("wan22lora.musubi") / "contract" / f"{pin.name}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    return Contract(
        revision=data["revision"],
        programs=MappingProxyType(
            {
                program: MappingProxyType({entry["option"]: _option(entry) for entry in entries})
                for program, entries in data["scripts"].items()
            }
        ),
    )


def _option(entry: Mapping[str, object]) -> Option:
    typed = dict(entry)
    name = typed.pop("option")
    # v0.3.4 calls the function _int_or_float, the article's revision int_or_float
    type_name = str(typed.pop("type")).lstrip("_") if "type" in typed else None
    choices = typed.pop("choices", ())
    assert isinstance(choices, (list, tuple))
    return Option(name=str(name), type=type_name, choices=tuple(choices), **typed)  # type: ignore[arg-type]
