"""The runs that docs/run-yaml.md shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.spec.resolved import Spec

Load = Callable[[str], Spec]
PAGE = Path(__file__).parents[3] / "docs" / "run-yaml.md"
SHOWN = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", SHOWN, ids=lambda text: text.split("\n")[0])
def test_every_run_that_the_reference_shows_can_be_loaded(load: Load, text: str) -> None:
    assert load(text).experts


def test_the_reference_shows_runs() -> None:
    assert len(SHOWN) >= 2
