"""Writing and loading run.yaml files in a temporary folder."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.errors import Finding, SpecError
from wan22lora.spec.load import load_spec
from wan22lora.spec.resolved import Spec

Load = Callable[[str], Spec]
Refuse = Callable[[str], list[Finding]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a run.yaml from its text."""

    def load_text(text: str) -> Spec:
        path = tmp_path / "run.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load_spec(path)

    return load_text


@pytest.fixture
def refuse(load: Load) -> Refuse:
    """Loads a run.yaml that must be refused, and returns the findings."""

    def refuse_text(text: str) -> list[Finding]:
        with pytest.raises(SpecError) as caught:
            load(text)
        return list(caught.value.findings)

    return refuse_text
