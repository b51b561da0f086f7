"""An OpenAI-compatible endpoint that looks at pictures: one question, one answer, and what can go wrong."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from wan22lora.errors import Finding, MachineError, SpecError

EXTRA = "pip install 'wan22lora[captions]'"
USUAL_KEY = "OPENAI_API_KEY"
_NO_KEY = "none"
"""What the client sends where there is no key; a server of one's own does not look at it."""
_SHOWN = 200
_LONGEST_WAIT = 600.0
"""Seconds that an endpoint may ask to wait; whoever is told to come back later than that does so by hand."""


@dataclass(frozen=True)
class Reply:
    """What a model answered, and what the endpoint counted."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


Crowd = Literal["", "refused", "timeout"]


class Trouble(Exception):
    """No answer. `text` follows the name of a file, `fix` says what to do."""

    def __init__(
        self,
        text: str,
        *,
        fix: str = "",
        final: bool = False,
        passing: bool = False,
        crowd: Crowd = "",
        wait: float | None = None,
    ) -> None:
        """With `final` no other question would be answered either; `passing` is worth another try.

        `crowd` tells that there may have been too many questions: the endpoint said so, or did not come to this one
        in time. `wait` is what it asks for, in seconds.
        """
        super().__init__(text)
        self.text, self.fix, self.final = text, fix, final
        self.passing, self.crowd, self.wait = passing, crowd, wait


def address(url: str) -> str:
    """The base address, with `/v1` where no path was given. Raises SpecError for what is none."""
    try:
        parts = urlsplit(url.strip())
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound:
        raise SpecError(f"--endpoint {url} is no address.", fix="--endpoint http://localhost:11434/v1")
    path = parts.path.rstrip("/")
    path = path.removesuffix("/chat/completions")
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", parts.query, ""))


def key_from(variable: str | None) -> str:
    """The key in an environment variable. Raises SpecError where one was named that is not set."""
    key = os.environ.get(variable or USUAL_KEY, "").strip()
    if not key and variable:
        raise SpecError(f"The environment variable {variable} is not set.", fix=f"export {variable}=…")
    if not (key.isascii() and key.isprintable()):
        raise SpecError(f"{variable or USUAL_KEY} holds characters that no key has.", fix="Copy the key once more.")
    return key or _NO_KEY


class Endpoint:
    """Asks one model, once; several threads may. What is worth another try is the caller's to ask again, who knows of
    the other questions (pace.py).
    """

    def __init__(self, url: str, model: str, *, key: str, timeout: float) -> None:
        """Raises MachineError where the client library is not installed."""
        try:
            import openai
        except ImportError:
            message = "`captions write` talks to models with the `openai` package, which is not installed"
            raise MachineError("Nothing was asked.", findings=[Finding("", message, EXTRA)]) from None
        self.url, self.model = url, model
        self._timeout, self._key = timeout, key if key != _NO_KEY else None
        self._openai = openai
        try:
            self._client = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=0)
        except (ValueError, OSError, ImportError) as problem:  # proxies and certificates that the environment names
            message = f"the client cannot be set up: {_short(problem)}"
            fix = "Look at the variables HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE."
            raise MachineError("Nothing was asked.", findings=[Finding("", message, fix)]) from None

    def ask(self, instruction: str, pictures: Sequence[str]) -> Reply:
        """One answer about the pictures, which are data URLs. Raises Trouble."""
        content: list[dict[str, Any]] = [{"type": "text", "text": instruction}]
        content += [{"type": "image_url", "image_url": {"url": picture}} for picture in pictures]
        messages: Any = [{"role": "user", "content": content}]
        try:
            answer: Any = self._client.chat.completions.create(model=self.model, messages=messages)
        except self._openai.APITimeoutError:
            text = f"had no answer within {self._timeout:g} s"
            raise Trouble(text, fix="--timeout 600", passing=True, crowd="timeout") from None
        except self._openai.APIConnectionError as problem:
            cause = _short(problem.__cause__ or problem)
            fix = "Start the server, or correct --endpoint."
            raise Trouble(f"had no answer: no connection to {self.url} ({cause})", fix=fix, passing=True) from None
        except self._openai.APIStatusError as problem:
            raise self._refused(problem) from None
        except (self._openai.OpenAIError, ValueError) as problem:  # JSON that is none is a ValueError
            raise Trouble(f"had an answer that cannot be read ({_short(problem)})") from None
        return _reply(answer)

    def _refused(self, problem: Any) -> Trouble:
        status, said = problem.status_code, self._said(problem)
        if status in (401, 403):
            fix = (
                "Is it the right key for this endpoint?"
                if self._key
                else f"export {USUAL_KEY}=…  (or --key-env NAME for another variable)"
            )
            return Trouble(f"was refused: the endpoint wants a valid key ({status}: {said})", fix=fix, final=True)
        if status == 404:
            fix = f"--model and --endpoint must fit{self._offered()}"
            return Trouble(f"was not found: {self.url} with model {self.model} ({status}: {said})", fix=fix, final=True)
        if getattr(problem, "code", None) == "insufficient_quota":
            return Trouble(f"was refused: the account has no credit ({said})", final=True)
        text, headers = f"was answered with an error ({status}: {said})", problem.response.headers
        wait = asked_to_wait(headers, time.time())
        if wait is not None and wait > _LONGEST_WAIT:
            text += f"; it asks to wait {wait / 60:,.0f} minutes"
            return Trouble(text, fix="Type the same command then.", final=True)
        passing = status in (408, 409, 429) or status >= 500
        if (told := headers.get("x-should-retry")) in ("true", "false"):
            passing = told == "true"
        crowd: Crowd = "refused" if status == 429 or (status == 503 and wait) else ""
        return Trouble(text, passing=passing, crowd=crowd, wait=wait)

    def _said(self, problem: Any) -> str:
        """The endpoint's own words; some repeat the key."""
        body = problem.body
        if isinstance(body, dict):
            inner = body.get("error", body)
            body = inner.get("message", inner) if isinstance(inner, dict) else inner
        said = str(body or problem.message)
        return _cut(said.replace(self._key, "…") if self._key else said)

    def _offered(self) -> str:
        try:
            names = sorted(model.id for model in self._client.with_options(max_retries=0, timeout=5).models.list())
        except Exception:  # a help in an error message; whatever fails here was said already
            return "; most endpoints end in /v1."
        return f"; it offers {', '.join(names[:8])}{', …' if len(names) > 8 else ''}" if names else "."


def asked_to_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer's `Retry-After` asks for: a number, a date, or the client's variant in milliseconds.

    None where it asks for none, or for something that is no time. `now` is in seconds since 1970.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(KeyError, ValueError):
            wait = float(headers[name]) * unit
            return wait if math.isfinite(wait) and wait > 0 else None
    with suppress(KeyError, ValueError, TypeError, OverflowError):
        wait = parsedate_to_datetime(headers["retry-after"]).timestamp() - now
        return wait if wait > 0 else None
    return None


def _reply(answer: Any) -> Reply:
    """The client hands on what is no JSON as a string, and JSON of any form as an object with missing parts."""
    if isinstance(answer, (str, bytes)):
        return Reply(answer if isinstance(answer, str) else answer.decode("utf-8", "replace"))
    try:
        choice = answer.choices[0]
        message, reason = choice.message, choice.finish_reason
        refusal, text = getattr(message, "refusal", None), message.content
    except (AttributeError, IndexError, TypeError):
        raise Trouble("had an answer without a message in it") from None
    if refusal and not text:
        raise Trouble(f"was refused by the model: {_cut(str(refusal))}")
    if reason == "content_filter":
        raise Trouble("was stopped by the endpoint's content filter")
    if reason == "length":
        raise Trouble("had an answer that was cut off at the endpoint's limit of length")
    if isinstance(text, list):  # some servers answer in parts
        text = "".join(str(part.get("text", "")) for part in text if isinstance(part, dict))
    usage = getattr(answer, "usage", None)
    return Reply(
        text if isinstance(text, str) else "",
        _count(getattr(usage, "prompt_tokens", 0)),
        _count(getattr(usage, "completion_tokens", 0)),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _short(problem: BaseException) -> str:
    return _cut(str(problem) or type(problem).__name__)


def _cut(text: str) -> str:
    plain = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}…"
