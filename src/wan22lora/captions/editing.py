"""What `apply` and `replace` make of a caption, as pure functions on its text."""

from __future__ import annotations

import re
from collections.abc import Callable

from wan22lora.dataset.entries import BYTE_ORDER_MARK
from wan22lora.errors import SpecError

Edit = Callable[[str], str]

_BEFORE = re.compile(rf"^[\s{BYTE_ORDER_MARK}]+")
_BARE = re.compile(rf"^[\s,{BYTE_ORDER_MARK}]+|[\s,{BYTE_ORDER_MARK}]+$")
_BETWEEN = " \t\r\n,"
"""What may stand between the trigger and what follows it."""
_ENDS = ".,;:!?"
_SENTENCE_ENDS = (".", ";", ":", "!", "?")


def with_opening(trigger: str | None, prefix: str | None) -> Edit:
    """Puts `trigger, prefix. ` in front, each part where it is missing; what it made it leaves alone.

    The trigger is missing where it stands nowhere in the caption: one that stands further behind is not repeated, and
    one at the beginning in other capitals, as chats begin sentences, is put right.
    Raises SpecError where both are empty.
    """
    words, lead = _BARE.sub("", trigger or ""), _BARE.sub("", prefix or "")
    if not words and not lead:
        raise SpecError("apply needs a word", fix="wan22lora captions apply DIR --trigger WORD --prefix 'a photo'")

    def edit(text: str) -> str:
        body = _BEFORE.sub("", text)
        made = _spelt(body, words)
        if lead and not made.startswith(lead):
            first, rest = _after(made, words)
            if not rest.startswith(lead):
                made = first + _joined(lead, rest)
        if words and words not in made:
            made = _joined(words, made)
        return text if made == body else made

    return edit


def _spelt(body: str, words: str) -> str:
    """With the leading trigger in its own capitals."""
    begins, rest = body[: len(words)], body[len(words) :]
    if not words or words in body or begins.lower() != words.lower() or (rest and rest[0] not in _BETWEEN + _ENDS):
        return body
    return words + rest


def _after(body: str, words: str) -> tuple[str, str]:
    """The leading trigger with what separates it, and the rest."""
    if not words or not body.startswith(words):
        return "", body
    rest = body[len(words) :]
    follows = rest[1:] if rest[:1] in _SENTENCE_ENDS and not rest[1:2].strip() else rest
    follows = follows.lstrip(_BETWEEN)
    if rest and rest[0] not in _BETWEEN + _ENDS:
        return "", body  # a longer word
    return f"{words}, ", follows


def _joined(first: str, rest: str) -> str:
    if not rest.strip():
        return first + rest
    return f"{first} {rest}" if first[-1] in _ENDS else f"{first}, {rest}"


def pattern_for(find: str, *, regex: bool = False, ignore_case: bool = False, word: bool = False) -> re.Pattern[str]:
    """What `find` and `replace` look for. Raises SpecError for nothing, and for what is no regular expression."""
    if not find:
        raise SpecError("There is nothing to look for: the text is empty.")
    expression = find if regex else re.escape(find)
    try:
        found = re.compile(expression, re.IGNORECASE if ignore_case else 0)
        return re.compile(rf"(?<!\w)(?:{expression})(?!\w)", found.flags & re.IGNORECASE) if word else found
    except (re.error, RecursionError, OverflowError) as problem:
        message = f"`{find}` is no regular expression: {problem}"
        raise SpecError(message, fix="Leave --regex away to look for the text itself.") from None


def with_replacement(pattern: re.Pattern[str], replacement: str, *, regex: bool = False) -> Edit:
    """Replaces every match; with `regex`, `\\1` and `\\g<name>` stand for groups.

    Raises SpecError for a group that is none.
    """
    if not regex:
        return lambda text: pattern.sub(lambda _: replacement, text)
    try:
        re.compile(f"(?:{pattern.pattern})|").sub(replacement, "")
    except (re.error, IndexError) as problem:
        message = f"`{replacement}` cannot be put in: {problem}"
        raise SpecError(message, fix=r"Groups are \1, \2, …; a backslash itself is \\.") from None
    return lambda text: pattern.sub(replacement, text)
