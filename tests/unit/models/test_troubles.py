from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from wan22lora.models.patience import Patience
from wan22lora.models.troubles import Trouble, trouble_of


@dataclass
class Response:
    status_code: int
    headers: Mapping[str, str]


class Refused(Exception):
    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__("https://cdn/x?signature=secret")
        self.response = Response(status, headers)


def trouble(error: Exception, *, signed: bool = False, token_from: str | None = None) -> Exception:
    return trouble_of(error, host="hub", page="https://hub/a/b", what="x of a/b", token_from=token_from, signed=signed)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "Fri, 21 Nov 2025 10:01:00 GMT", "Date": "Fri, 21 Nov 2025 10:00:00 GMT"}, 60),
        ({"Retry-After": "Fri, 21 Nov 2025 10:01:00 GMT"}, None),
        ({"Retry-After": "soon"}, None),
        ({"RateLimit": '"resolvers";r=0;t=42'}, 42),
        ({}, None),
    ],
)
def test_how_long_the_hub_wants_us_to_wait(headers: Mapping[str, str], seconds: float | None) -> None:
    found = trouble(Refused(429, headers))
    assert isinstance(found, Trouble)
    assert (found.again, found.wait) == (True, seconds)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_of_a_signed_address_means_only_that_it_is_old(status: int) -> None:
    found = trouble(Refused(status, {}), signed=True)
    assert isinstance(found, Trouble)
    assert found.again


def test_a_full_disk_is_no_trouble_of_the_hub() -> None:
    error = OSError(28, "No space left on device")
    assert trouble(error) is error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),
        TimeoutError(),
        ValueError("strange: GET https://cdn/x?signature=secret failed"),
        RuntimeError("/x?signature=secret"),
        Refused(418, {}),
    ],
)
def test_no_message_repeats_a_signed_address(error: Exception) -> None:
    assert "secret" not in str(trouble(error))


def test_the_innermost_cause_is_told() -> None:
    outer = ConnectionError("HTTPSConnectionPool(host=…): Max retries exceeded")
    outer.__cause__ = OSError(-2, "Name or service not known")
    assert "Name or service not known" in str(trouble(outer))


def test_patience_ends_after_eight_tries_without_a_new_byte() -> None:
    pauses: list[float] = []
    patience, failing = Patience(pauses.append, lambda text: None), Trouble("no", again=True)
    for _ in range(5):
        patience.after(failing)
    patience.reached(10)
    for _ in range(7):
        patience.reached(10)  # the same bytes once more count nothing
        patience.after(failing)
    with pytest.raises(Trouble):
        patience.after(failing)
    assert pauses == [1, 2, 4, 8, 16, 1, 2, 4, 8, 16, 32, 60]


def test_a_wait_of_more_than_ten_minutes_is_left_to_the_person() -> None:
    pauses: list[float] = []
    patience = Patience(pauses.append, lambda text: None)
    patience.after(Trouble("busy", again=True, wait=600))
    with pytest.raises(Trouble, match="busy and to wait 30 minutes"):
        patience.after(Trouble("busy", again=True, wait=1800))
    assert pauses == [600]
