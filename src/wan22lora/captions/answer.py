"""One answer of a chat or a model: the caption in it, or why there is none."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

LONGEST = 4_000
"""Characters. The text encoder reads 512 tokens, about half of this; more is no caption."""

_THINKING = re.compile(r"\A\s*<think(?:ing)?>", re.IGNORECASE)
_THOUGHT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_FENCE = re.compile(r"\A```[\w-]*\n(.*?)\n?```\Z", re.DOTALL)
_LABEL = re.compile(r"\A(?:\*\*)?caption(?:\*\*)?\s*:(?:\*\*)?\s*", re.IGNORECASE)
_PREFACE = re.compile(
    r"\A(?:(?:sure|certainly|of course|absolutely|okay|ok)\b[^\n:]{0,60}"
    r"|(?:here(?:['’]s| is)|below is)\b[^\n:]{0,120}):\s*\n+"
    r"|\A(?:sure|certainly|of course|absolutely)[!.,][^\n:]{0,120}:\s+",
    re.IGNORECASE,
)
_FAREWELL = re.compile(
    r"\n\s*\n(?:let me know|would you like|if you(?:['’]d| would| need| want)|i hope|feel free)\b[^\n]*\Z",
    re.IGNORECASE,
)
"""What chats say before and after a caption."""
_QUOTES = {'"': '"', "“": "”", "«": "»", "'": "'", "`": "`"}
_REFUSAL = re.compile(
    r"(?:i['’]?m|i am|we['’]?re|we are)?\s*(?:very |so |truly )?(?:sorry|afraid|unable to|not able to)\b"
    r"|(?:i|we)\s+(?:can['’]?t|cannot|can not|won['’]?t|will not|do not feel comfortable|don['’]t feel comfortable)\b"
    r"|(?:my )?apologies\b|i apologi[sz]e\b|unfortunately,? (?:i|we)\b|as an ai\b"
    r"|i must (?:decline|refuse)\b|this (?:request|content|image) (?:violates|may violate|goes against)\b",
    re.IGNORECASE,
)
_HTML = re.compile(r"\A\s*(?:<!doctype|<html|<\?xml|<head|<body)", re.IGNORECASE)
_ERROR = re.compile(r'\A\s*\{\s*"?(?:error|detail|message|code|status)\b', re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")
_FEWEST_REPEATS, _PHRASE = 8, 4


@dataclass(frozen=True)
class Answer:
    """What came back for one picture or clip."""

    name: str
    """How the answer names what it is about; may be a path with `/`."""
    text: str


def cleaned(text: str) -> str:
    """The caption without what models and chats put around it: reasoning, a preface and a farewell, a code fence, a
    label, quotation marks.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    if _THINKING.match(text):
        text = _THOUGHT.split(text)[-1]
    text = text.strip().strip("\ufeff").strip()
    text = _FAREWELL.sub("", _PREFACE.sub("", text)).strip()
    fenced = _FENCE.match(text)
    if fenced:
        text = fenced[1].strip()
    text = _LABEL.sub("", text)
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and not {text[0], text[-1]} & set(text[1:-1]):
        text = text[1:-1].strip()
    return "\n".join(line.rstrip() for line in text.split("\n"))


def problem_with(text: str) -> str:
    """Why a cleaned text is not taken for a caption, as words that follow the file's name; empty when it is one."""
    if not text.strip():
        return "is empty"
    if _THINKING.match(text):
        return "is reasoning that never came to an answer"
    if _HTML.match(text):
        return "is a web page, not a caption"
    if _ERROR.match(text):
        return "is an error message, not a caption"
    if not any(character.isalpha() for character in text):
        return "has no words in it"
    if _REFUSAL.match(text):
        return "is a refusal, not a caption"
    if _UNPRINTABLE.search(text):
        return "holds characters that no text has"
    if len(text) > LONGEST:
        return f"has {len(text):,} characters, far more than the text encoder reads"
    if _goes_in_circles(text):
        return "repeats itself over and over"
    return ""


def _goes_in_circles(text: str) -> bool:
    words = text.split()
    phrases = Counter(tuple(words[at : at + _PHRASE]) for at in range(len(words) - _PHRASE + 1))
    return bool(phrases) and max(phrases.values()) >= _FEWEST_REPEATS
