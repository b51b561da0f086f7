"""Changes of captions as a person reads them: per file what goes and what comes, with a few words around it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wan22lora.captions.journal import Change, Content, Link
from wan22lora.dataset.problems import counted

if TYPE_CHECKING:
    from rich.text import Text

SHOWN = 20
"""Files whose change is shown, unless all are asked for."""
_AROUND = 6
"""Words shown before and after what changes."""
_LONGEST = 4_000
"""Characters of a caption that are compared word by word."""
_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_GAP = "…"


def changes_as_text(
    changes: Sequence[Change], name_of: Callable[[Path], str], *, every: bool = False
) -> Iterator[Text]:
    """For each file its name, then `-` lines and `+` lines; a console wraps them."""
    from rich.text import Text

    shown = changes if every else changes[:SHOWN]
    for change in shown:
        yield _text(readable(name_of(change.file)) + _fate(change), "bold")
        old, new = _words(change.old), _words(change.new)
        if change.old is None or change.new is None or max(len(old), len(new)) > _LONGEST:
            yield from _whole("-", old, "red") if change.old is not None else ()
            yield from _whole("+", new, "green") if change.new is not None else ()
        else:
            yield from _difference(old, new)
    if len(shown) < len(changes):
        yield Text(f"… and {len(changes) - len(shown)} more (all with --all)")


def in_short(changes: Sequence[Change]) -> str:
    """`12 captions: 3 new, 8 changed, 1 removed`."""
    kinds = (
        (sum(change.old is None for change in changes), "new"),
        (sum(change.old is not None and change.new is not None for change in changes), "changed"),
        (sum(change.new is None for change in changes), "removed"),
    )
    return f"{counted(len(changes), 'caption')}: " + ", ".join(f"{count} {word}" for count, word in kinds if count)


def match_as_text(name: str, caption: str, pattern: re.Pattern[str]) -> Iterator[Text]:
    """The file's name, and each match with the words around it."""
    text = " ".join(caption.strip().split("\n"))
    yield _text(readable(name), "bold")
    for match in pattern.finditer(text):
        before, after = _tokens(text[: match.start()]), _tokens(text[match.end() :])
        line = _text("  ", "")
        line.append(_ended(before, last=True))
        line.append(readable(match[0]), "bold reverse" if match[0].strip() else "reverse")
        line.append(_ended(after, last=False))
        yield line


def readable(text: str) -> str:
    """Without what a screen would obey or refuse: control characters, and bytes of names that are no text."""
    plain = text.encode("utf-8", "backslashreplace").decode()
    return "".join(character if character.isprintable() else "�" for character in plain.expandtabs(1))


def _fate(change: Change) -> str:
    return " (new)" if change.old is None else " (removed)" if change.new is None else ""


def _words(content: Content) -> str:
    if isinstance(content, Link):
        return f"→ {content.target}"
    text = (content or b"").decode("utf-8", "replace")
    return text.replace("\ufeff", "⟨byte order mark⟩").replace("\r\n", "\n").strip()


def _whole(mark: str, text: str, style: str) -> Iterator[Text]:
    yield _text(f"  {mark} {readable(' '.join(text.split())) or '(empty)'}", style)


def _difference(old: str, new: str) -> Iterator[Text]:
    ours, theirs = _TOKEN.findall(old), _TOKEN.findall(new)
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    for group in matcher.get_grouped_opcodes(2 * _AROUND):
        minus, plus = _text("  - ", "red"), _text("  + ", "green")
        first, last = group[0], group[-1]
        for line, begins in ((minus, first[1]), (plus, first[3])):
            line.append(_GAP if begins else "")
        for tag, i, j, k, m in group:
            minus.append(_joined(ours[i:j]), "" if tag == "equal" else "bold reverse")
            plus.append(_joined(theirs[k:m]), "" if tag == "equal" else "bold reverse")
        for line, ends, length in ((minus, last[2], len(ours)), (plus, last[4], len(theirs))):
            line.append(_GAP if ends < length else "")
        yield from (line for line in (minus, plus))
    if ours == theirs:
        yield _text("  (white space at its ends)", "dim")


def _ended(tokens: list[str], *, last: bool) -> str:
    """The tokens next to a match, with a sign that there are more."""
    many = 2 * _AROUND
    kept = tokens[-many:] if last else tokens[:many]
    text = _joined(kept)
    if len(kept) == len(tokens):
        return text
    return f"{_GAP}{text}" if last else f"{text}{_GAP}"


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _joined(tokens: Sequence[str]) -> str:
    return readable("".join(" " if token.isspace() else token for token in tokens))


def _text(text: str, style: str) -> Text:
    from rich.text import Text

    return Text(text, style=style)
