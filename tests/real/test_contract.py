"""The packaged contracts are what the real programs accept, at both pins."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

CONTRACT = Path(__file__).parents[2] / "scripts" / "contract.py"


def packaged_contracts() -> dict[str, Any]:
    """Every contract in the package, by the revision that it names."""
    files = resources.files("wan22lora.musubi").joinpath("contract").iterdir()
    contracts = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.name.endswith(".json")]
    return {contract["revision"]: contract for contract in contracts}


@pytest.mark.parametrize("pin", ["musubi_checkout", "article_checkout"])
def test_the_packaged_contract_is_what_the_programs_accept(
    pin: str, request: pytest.FixtureRequest, musubi_python: Path
) -> None:
    checkout: Path = request.getfixturevalue(pin)
    script: list[str | Path] = [sys.executable, CONTRACT, checkout, "--python", musubi_python]
    regenerated = json.loads(subprocess.check_output(script, text=True, encoding="utf-8"))
    assert regenerated == packaged_contracts()[regenerated["revision"]]
