"""The structure that docs/architecture.md tells of, held against the code."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "wan22lora"
PACKAGES = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
MODULE = re.compile(r"`((?:\w+/)+\w+\.py)`")
ROW = re.compile(r"\| `(\w+)/` \| [^|]+ \| ([^|]*) \|")
TABLE = {row[1]: row[2].strip() for row in ROW.finditer((ROOT / "docs" / "architecture.md").read_text("utf-8"))}


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, also inside functions and for types alone."""
    package = ["wan22lora", *file.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from [f"{module}.{each.name}" for each in node.names] if module == "wan22lora" else [module]


def packages_imported_by(package: str) -> set[str]:
    files = (SOURCE / package).rglob("*.py")
    others = (module.split(".")[1] for file in files for module in imported(file) if module.startswith("wan22lora."))
    return {other for other in others if other in PACKAGES} - {package}


def test_the_modules_that_are_named_exist() -> None:
    named = MODULE.findall((ROOT / "docs" / "architecture.md").read_text("utf-8"))
    assert named
    assert [module for module in named if not (SOURCE / module).is_file() and not (ROOT / module).is_file()] == []


def test_every_package_is_told_of() -> None:
    assert sorted(TABLE) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_what_the_table_says(package: str) -> None:
    assert ", ".join(sorted(packages_imported_by(package))) == TABLE[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_stands_above_it(package: str) -> None:
    order = list(TABLE)
    assert packages_imported_by(package) <= set(order[: order.index(package)])


def test_what_is_at_the_bottom_imports_no_package() -> None:
    for file in (SOURCE / f"{name}.py" for name in ("errors", "kinds", "readable", "files")):
        assert not {module.split(".")[1] for module in imported(file) if "wan22lora." in module} & set(PACKAGES)


@pytest.mark.parametrize("file", sorted((SOURCE / "trainer").rglob("*.py")), ids=lambda file: str(file.name))
def test_the_trainer_runs_where_wan22lora_is_not_installed(file: Path) -> None:
    """Its modules import each other relatively, because inside musubi's Python their package has another name."""
    written = [
        node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = [each.name for node in written if isinstance(node, ast.Import) for each in node.names]
    names += [node.module or "" for node in written if isinstance(node, ast.ImportFrom) and not node.level]
    known = {*sys.stdlib_module_names, "torch", "musubi_tuner", "safetensors", "toml"}
    assert {name.partition(".")[0] for name in names} <= known
