"""A document against its model: pydantic's errors as findings at a line and column, all at once."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from wan22lora.errors import Finding
from wan22lora.musubi.contract import load_contract
from wan22lora.musubi.options import IN_OUR_WORDS, OWNED_OPTIONS
from wan22lora.musubi.pins import DEFAULT
from wan22lora.musubi.programs import TRAIN
from wan22lora.spec.document import Document, KeyPath, dotted

ModelT = TypeVar("ModelT", bound=BaseModel)

REASONS: dict[tuple[str, Any], str] = {
    (
        "timestep_sampling",
        "sigma",
    ): "musubi's `sigma` turns the timestep range upside down (875-1000 would train "
    "timesteps 1-125) and ignores shift and range shape",
    (
        "save_every_steps",
        0,
    ): "0 stops musubi with a division by zero; leave the key out for no checkpoints in between",
    (
        "save_every_epochs",
        0,
    ): "0 stops musubi with a division by zero; leave the key out for no checkpoints in between",
}


def check(document: Document, model: type[ModelT]) -> tuple[ModelT | None, list[Finding]]:
    """The document as `model`, or everything that is wrong with it."""
    try:
        return model.model_validate(document.data), []
    except ValidationError as error:
        return None, list(_findings(document, model, error))


def sound_part(document: Document, model: type[BaseModel]) -> Document:
    """The document without what check complains of, so that the rest can be looked at as well."""
    try:
        model.model_validate(document.data)
    except ValidationError as error:
        data = copy.deepcopy(document.data)
        for item in error.errors():
            _remove(data, _written_part(document, item))
        return replace(document, data=data)
    return document


def _remove(data: dict[str, Any], path: KeyPath) -> None:
    node: Any = data
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if isinstance(node, dict) and path:
        node.pop(path[-1], None)


def _findings(document: Document, model: type[BaseModel], error: ValidationError) -> Iterator[Finding]:
    told: set[KeyPath] = set()
    for item in error.errors():
        path = _written_part(document, item)
        if path in told:  # one line per key: each branch of a union complains for itself
            continue
        told.add(path)
        where = f"{document.place(path)} {dotted(path)}"
        kind = item["type"]
        if kind == "extra_forbidden":
            yield Finding(where, "there is no such key", _suggestion(model, path))
        elif kind == "missing":
            yield Finding(f"{document.place(path[:-1])} {dotted(path)}", "is missing", _describe(model, path))
        else:
            branches = [other for other in error.errors() if _written_part(document, other) == path]
            value = _value(document, path)
            reason = REASONS.get((str(path[-1]), value)) if path and not isinstance(value, list | dict) else None
            message = " or ".join(dict.fromkeys(_sentence(branch) for branch in branches))
            shown = f" (it is {value!r})" if not isinstance(value, dict) else ""
            fix = _closest(value, branches) or _quoted(path, value, branches) or _describe(model, path)
            if kind == "literal_error":  # the message names what may stand there
                fix = fix.partition(". ")[0]
            yield Finding(where, f"{message}{shown}{': ' + reason if reason else ''}", fix)


def _closest(value: Any, branches: list[Any]) -> str:
    """Of the words that may stand there the one that was meant: `24gb` for `24`, `fast` for `Fats`."""
    words = [
        word for each in branches for word in re.findall(r"'([^']+)'", (each.get("ctx") or {}).get("expected", ""))
    ]
    written = str(value).lower()
    begun = [word for word in words if word.startswith(written) and written]
    close = begun if len(begun) == 1 else difflib.get_close_matches(written, words, n=1, cutoff=0.75)
    return f"did you mean `{close[0]}`?" if close else ""


def _quoted(path: KeyPath, value: Any, branches: list[Any]) -> str:
    """How a number or a truth value is written where a text belongs."""
    if isinstance(value, int | float) and [each["type"] for each in branches] == ["string_type"]:
        return f'in quotes it is one: {path[-1]}: "{str(value).lower()}"'
    return ""


def _written_part(document: Document, item: Any) -> KeyPath:
    """Where an error of pydantic's is, without the names of union branches that it adds at the end."""
    node: Any = document.data
    path: list[int | str] = []
    for part in item["loc"]:
        if isinstance(node, dict):
            if part not in node:
                return (*path, part) if item["type"] == "missing" else tuple(path)
            path.append(part)
            node = node[part]
        elif isinstance(node, list) and isinstance(part, int):
            if part >= len(node):
                break
            path.append(part)
            node = node[part]
        else:
            break
    return tuple(path)


def _value(document: Document, path: KeyPath) -> Any:
    node: Any = document.data
    for part in path:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return None
    return node


def _sentence(item: Any) -> str:
    text: str = item["msg"]
    if item["type"] == "string_pattern_mismatch":
        return "has characters that cannot be part of it"
    if item["type"] in ("string_too_short", "too_short") and item["ctx"]["min_length"] == 1:
        return "must not be empty"
    if item["type"] == "too_long":
        return f"must have at most {item['ctx']['max_length']} values"
    text = text.removeprefix("Input should be ").removeprefix("Value error, ")
    text = re.sub(r"a valid dictionary or instance of \w+", "keys and values", text)
    for technical, plain in (
        ("a valid integer, unable to parse string as an integer", "a whole number"),
        ("a valid integer, got a number with a fractional part", "a whole number"),
        ("a valid integer", "a whole number"),
        ("a valid number, unable to parse string as a number", "a number"),
        ("a valid number", "a number"),
        ("a valid boolean, unable to interpret input", "true or false"),
        ("a valid boolean", "true or false"),
        ("a valid string", "a text"),
        ("a valid tuple", "a list"),
        ("a valid list", "a list"),
        ("a valid dictionary", "keys and values"),
        ("Field required", "needs one more value"),
    ):
        text = text.replace(technical, plain)
    return f"must be {text}" if item["msg"].startswith("Input should be") else text[:1].lower() + text[1:]


def fields_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The model of the mapping at `path`, or None where there is no mapping of known keys."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue
        if current is None:
            return None
        field = _by_written_name(current).get(part)
        current = _model_in(field.annotation) if field is not None else None
    return current


def _by_written_name(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None


def _describe(model: type[BaseModel], path: KeyPath) -> str:
    owner = fields_at(model, path[:-1])
    names = [part for part in path if isinstance(part, str)]
    field = _by_written_name(owner).get(names[-1]) if owner is not None and names else None
    return " ".join((field.description or "").split()) if field is not None else ""


def _suggestion(model: type[BaseModel], path: KeyPath) -> str:
    owner = fields_at(model, path[:-1])
    wrong = str(path[-1])
    here = _by_written_name(owner) if owner is not None else {}
    elsewhere = {name: places for name, places in _everywhere(model).items() if places}
    word = wrong.lower().replace("-", "_")
    if (ours := IN_OUR_WORDS.get(word)) is not None and (ours in here or ours in elsewhere):
        return f"did you mean `{ours if ours in here else elsewhere[ours]}`?"
    close = difflib.get_close_matches(word, here, n=1, cutoff=0.72)
    if close:
        return f"did you mean `{close[0]}`?"
    close = difflib.get_close_matches(word, elsewhere, n=1, cutoff=0.8)
    if close:
        return f"did you mean `{elsewhere[close[0]]}`?"
    if f"--{word}" in load_contract(DEFAULT).programs[TRAIN] and word not in OWNED_OPTIONS:
        return f"an option of musubi's own: `musubi: {{train: {{{word}: …}}}}`"
    above = dotted(path[:-1])
    listed = ", ".join(here)
    return f"keys {f'of {above}' if above else 'at the top'}: {listed}" if listed else ""


def _everywhere(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, field in _by_written_name(model).items():
        found.setdefault(name, f"{prefix}{name}")
        inner = _model_in(field.annotation)
        if inner is not None and not prefix:
            for key, place in _everywhere(inner, f"{name}.").items():
                found.setdefault(key, place)
    return found
