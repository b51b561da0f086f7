"""Addresses and keys as people give them."""

from __future__ import annotations

import pytest

from wan22lora.captions.endpoint import address, key_from
from wan22lora.errors import SpecError


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://localhost:1234/v1/", "http://localhost:1234/v1"),
        ("https://example.org/api/v3/chat/completions", "https://example.org/api/v3"),
        (
            " https://example.org/openai/deployments/x?api-version=1 ",
            "https://example.org/openai/deployments/x?api-version=1",
        ),
    ],
)
def test_an_address_may_be_short_or_too_long(given: str, meant: str) -> None:
    assert address(given) == meant


@pytest.mark.parametrize("given", ["", "localhost:11434", "ftp://x", "http://", "http://[::", "http://x:99999999"])
def test_an_address_that_is_none_is_told(given: str) -> None:
    with pytest.raises(SpecError, match="is no address"):
        address(given)


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MY_KEY", " abc\n")
    assert key_from("MY_KEY") == "abc"
    assert key_from(None) == "none"
    monkeypatch.setenv("OPENAI_API_KEY", "a“b")
    with pytest.raises(SpecError, match="characters that no key has"):
        key_from(None)
    with pytest.raises(SpecError, match="is not set"):
        key_from("NO_SUCH_KEY")
