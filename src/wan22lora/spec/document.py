"""YAML files as plain data together with the place of every key, so that errors can point at a line and column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wan22lora.errors import Finding, SpecError
from wan22lora.spec.paths import similar

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A position in a file a person can open; line and column count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Document:
    """One YAML file: its data as dict, list and scalars, and where each key stands."""

    file: str
    """The name shown in messages."""
    folder: Path
    """Relative paths in the file start here."""
    data: dict[str, Any]
    places: Mapping[KeyPath, Place] = field(repr=False)

    def place(self, path: KeyPath) -> Place:
        """The place of a key, or of the nearest key above it that is written down."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(self.file)


def dotted(path: KeyPath) -> str:
    """`("datasets", 0, "images")` as a person writes it: `datasets[0].images`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def in_file_order(findings: Iterable[Finding]) -> list[Finding]:
    """Sorted by line and column within each file; findings without a place stay behind."""

    def order(finding: Finding) -> tuple[str, int, int]:
        found = re.match(r"(.+?):(\d+):(\d+)", finding.where)
        return (found[1], int(found[2]), int(found[3])) if found else ("\uffff", 0, 0)

    return sorted(findings, key=order)


LARGEST = 1_000_000
"""Characters of a run.yaml; a device would be read without end."""


def read_document(path: Path, *, shown_as: str | None = None) -> Document:
    """Reads a YAML 1.2 mapping (`3e-4` is a number, `yes` is a word).

    Raises SpecError, with line and column, when the file cannot be read, is not UTF-8, is not YAML, repeats a key
    or is not a mapping.
    """
    shown = shown_as or path.name
    try:
        with path.open(encoding="utf-8-sig") as opened:
            text = opened.read(LARGEST + 1)
    except FileNotFoundError:
        near = similar(path, ".yaml", ".yml")
        fix = "wan22lora init --preset style --images DIR --name NAME   writes one"
        raise SpecError(f"{path}: there is no such file", fix=f"did you mean {near}?" if near else fix) from None
    except IsADirectoryError:
        raise SpecError(f"{path}: is a folder", fix=f"name the file: {path / 'run.yaml'}") from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: is not a text file in UTF-8: byte {error.start + 1} cannot be read") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(text) > LARGEST:
        raise SpecError(f"{path}: has over {LARGEST:,} characters, which no run.yaml has")
    return parse_document(text, file=shown, folder=path.parent)


def parse_document(text: str, *, file: str, folder: Path) -> Document:
    """The document in `text`; see read_document."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        loaded = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        mark = error.problem_mark
        place = Place(file, mark.line + 1, mark.column + 1)
        raise SpecError(
            f"{file} cannot be used",
            findings=[Finding(str(place), f"{_repeated(error)} is written twice", "keep one of them")],
        ) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        what = error.problem or error.context or "not YAML"
        raise SpecError(
            f"{file} is not valid YAML",
            findings=[Finding(str(place), what, _way_out(what))],
        ) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"line {line} holds the character U+{error.character:04X}"
        raise SpecError(f"{file} is not a YAML file: {what}, which text does not have") from None
    except YAMLError as error:
        raise SpecError(f"{file} is not valid YAML: {error}") from None
    except RecursionError:
        raise SpecError(f"{file} is nested too deeply to be a run.yaml") from None
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:  # `!!int x`
        raise SpecError(f"{file} is not valid YAML: a value cannot be read: {error}") from None
    if loaded is None:
        loaded = {}
    if not isinstance(loaded, dict):
        raise SpecError(f"{file} must hold keys and values (`name: my-lora`), not {_kind(loaded)}")
    places: dict[KeyPath, Place] = {}
    try:
        data = _plain(loaded, (), file, places)
    except RecursionError:
        raise SpecError(f"{file} holds an anchor (`&`) that contains itself") from None
    except ValueError as error:  # Python prints no integer of more than 4300 digits
        raise SpecError(f"{file} holds a number that is too long: {error}") from None
    return Document(file, folder, data, places)


def _repeated(error: Any) -> str:
    named = re.search(r'duplicate key "(.*?)"', error.problem or "")
    return f"`{named[1]}`" if named else "this key"


def _way_out(problem: str) -> str:
    if "escape" in problem:
        return 'within "…" a backslash begins an escape; paths need no quotes'
    return "check the indentation (spaces, no tabs) and the colons"


def _plain(node: Any, path: KeyPath, file: str, places: dict[KeyPath, Place]) -> Any:
    if isinstance(node, dict):
        plain: dict[str, Any] = {}
        for key, value in node.items():
            name = str(key)
            _remember(node, key, (*path, name), file, places)
            plain[name] = _plain(value, (*path, name), file, places)
        return plain
    if isinstance(node, list):
        for index in range(len(node)):
            _remember(node, index, (*path, index), file, places)
        return [_plain(value, (*path, index), file, places) for index, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)  # dates: nothing in a run.yaml is one, so the words as written


def _remember(node: Any, key: Any, path: KeyPath, file: str, places: dict[KeyPath, Place]) -> None:
    try:
        place = node.lc
        line, column = place.item(key) if isinstance(key, int) and isinstance(node, list) else place.key(key)
    except (AttributeError, KeyError, TypeError, IndexError):
        return  # keys that came through a merge (`<<`) have no place of their own
    places[path] = Place(file, line + 1, column + 1)


def _kind(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "a list"
    return "a single value"
