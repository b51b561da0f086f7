from __future__ import annotations

import pytest

from wan22lora.musubi.pins import ARTICLE, DEFAULT, PINS, V0_3_4, pin_named


def test_a_pin_is_found_by_name_and_by_commit() -> None:
    assert DEFAULT is V0_3_4
    for pin in PINS:
        assert pin_named(pin.name) is pin
        assert pin_named(pin.revision) is pin


def test_an_unknown_revision_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"v0.3.5.*{V0_3_4.revision}.*{ARTICLE.revision}"):
        pin_named("v0.3.5")
