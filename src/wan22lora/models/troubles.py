"""What went wrong between the hub and us, in plain words, and whether trying again can help."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any


class Trouble(Exception):
    """A failed request; `again` when another try may succeed, after `wait` seconds where the hub says how long."""

    def __init__(
        self, text: str, *, fix: str = "", again: bool = False, wait: float | None = None, start_over: bool = False
    ) -> None:
        super().__init__(text)
        self.text = text
        self.fix = fix
        self.again = again
        self.wait = wait
        self.start_over = start_over
        """What has arrived so far is of no use."""


def trouble_of(error: Exception, *, host: str, page: str, what: str, token_from: str | None, signed: bool) -> Exception:
    """The Trouble behind an exception of huggingface_hub; an OSError of the disk comes back as it is.

    `signed`: the request went to a signed address, whose refusals mean nothing but that it has become too old.
    """
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status is not None:
        return _refusal(int(status), response, host, page, what, token_from, signed)
    name = type(error).__name__
    if name == "OfflineModeIsEnabled":
        return Trouble("HF_HUB_OFFLINE is set, so nothing can be fetched", fix="unset HF_HUB_OFFLINE")
    if isinstance(error, OSError) and error.errno is not None and not _of_the_network(error):
        return error
    if "Consistency check" in str(error):
        return Trouble(f"{host} sent a different number of bytes than it announced", again=True)
    if _of_the_network(error):
        return Trouble(
            f"{host} cannot be reached ({_reason(error)})",
            fix="check the connection, and HTTPS_PROXY and HF_ENDPOINT where they are set",
            again=True,
        )
    return Trouble(f"huggingface_hub failed with {name}: {_without_addresses(str(error))}")


def _refusal(
    status: int, response: Any, host: str, page: str, what: str, token_from: str | None, signed: bool
) -> Trouble:
    headers: Mapping[str, str] = response.headers
    code = headers.get("X-Error-Code", "")
    if status == 429:
        wait = _retry_after(headers)
        fix = "the same command goes on from here later; a token (HF_TOKEN) has higher limits"
        return Trouble(f"{host} asks for fewer requests (429)", fix=fix, again=True, wait=wait)
    if status == 416:
        return Trouble(f"{host} does not have the rest of the file (416)", again=True, start_over=True)
    if status >= 500 or status == 408 or (signed and status in (400, 401, 403, 404)):
        return Trouble(f"{host} failed with {status}", fix="try again later", again=True, wait=_retry_after(headers))
    if code == "GatedRepo":
        fix = f"open {page} in a browser, accept the terms there, then set HF_TOKEN to a token of that account"
        return Trouble(f"{page} is only for accounts that have accepted its terms ({status})", fix=fix)
    if status in (401, 403) and token_from is not None:
        fix = "make a new token with read access and set HF_TOKEN to it, or unset it: these files need none"
        if token_from != "HF_TOKEN":
            fix = "`hf auth login` with a new token, or `hf auth logout`: these files need none"
        return Trouble(f"{host} does not accept the token of {token_from} for {page} ({status})", fix=fix)
    if code == "EntryNotFound":
        fix = f"look at {page}; a newer wan22lora may know another"
        return Trouble(f"{host} has no {what} at this revision (404)", fix=fix)
    if code == "RevisionNotFound":
        return Trouble(f"{page} no longer has this revision (404)", fix="a newer wan22lora may know another")
    if status in (401, 403, 404):
        fix = "if it is private or gated, set HF_TOKEN to a token that may read it"
        return Trouble(f"{host} shows no repository {page} to you ({status})", fix=fix)
    return Trouble(f"{host} refused {what} ({status})")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from Retry-After (number or date) or the hub's own RateLimit header."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    if value:
        try:
            date = parsedate_to_datetime(value)
            sent = parsedate_to_datetime(headers.get("Date", ""))
            return max(0.0, (date - sent).total_seconds())
        except (TypeError, ValueError):
            return None
    limit = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return float(limit[1]) if limit else None


def _of_the_network(error: BaseException) -> bool:
    """Told by the libraries' module names: the hub uses requests, httpx or httpx2, depending on its version."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return bool(modules & {"requests", "urllib3", "httpx", "httpx2", "httpcore"})


def _reason(error: BaseException) -> str:
    """The innermost cause, which is the one that a person can do something about."""
    seen: set[int] = set()
    while (inner := error.__cause__ or error.__context__) is not None and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = _without_addresses(str(error)).strip().splitlines()
    return text[0][:120] if text and text[0] else type(error).__name__


def _without_addresses(text: str) -> str:
    """Signed addresses are as good as a password for an hour."""
    return re.sub(r"https?://\S+|/\S*\?\S+", "(address)", text)
