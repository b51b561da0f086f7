"""The captions that are there, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from wan22lora.captions.caption_file import content_of
from wan22lora.captions.changes import changes_to
from wan22lora.captions.editing import Edit
from wan22lora.captions.journal import Change, Content, Link
from wan22lora.captions.place import Place
from wan22lora.dataset.entries import BYTE_ORDER_MARK
from wan22lora.dataset.problems import counted, listed
from wan22lora.errors import Finding


def texts_of(place: Place) -> tuple[dict[Path, str], list[Finding]]:
    """Every caption by its file, and what is wrong with the others: missing, or not UTF-8."""
    texts: dict[Path, str] = {}
    missing, undecoded = [], []
    for medium in place.media:
        content = content_of(medium.caption)
        if content is None:
            missing.append(place.name_of(medium.caption))
            continue
        try:
            texts[medium.caption] = content.decode("utf-8")
        except UnicodeDecodeError:
            undecoded.append(place.name_of(medium.caption))
    findings = []
    if missing:
        message = f"{counted(len(missing), 'caption')} not there yet: {listed(missing)}"
        fix = "Write them, or let them be written: `wan22lora captions prompt`, `import`, `write`."
        findings.append(Finding(place.typed, message, fix, "warning"))
    if undecoded:
        message = f"{counted(len(undecoded), 'caption')} not in UTF-8 and left as they are: {listed(undecoded)}"
        findings.append(Finding(place.typed, message, "Save them as UTF-8.", "warning"))
    return texts, findings


def edited(texts: Mapping[Path, str], edit: Edit) -> tuple[Change, ...]:
    """What an edit would change. A byte order mark goes where a caption changes: it would be part of the caption."""
    wanted: dict[Path, bytes | None] = {}
    for file, text in texts.items():
        made = edit(text)
        if made != text:
            wanted[file] = made.lstrip(BYTE_ORDER_MARK).encode("utf-8", "surrogatepass")
    return changes_to(wanted)


def without_caption(place: Place) -> list[Path]:
    """The caption files that are missing or empty, in the order of the pictures and clips."""
    return [medium.caption for medium in place.media if is_empty(content_of(medium.caption))]


def is_empty(content: Content) -> bool:
    """True where there is no caption, but a link that leads nowhere perhaps, or one of white space."""
    if isinstance(content, Link):
        return True
    return content is None or not content.removeprefix(BYTE_ORDER_MARK.encode()).strip()


def as_caption(text: str) -> bytes:
    """The content of a caption file."""
    return text.strip().encode("utf-8", "replace") + b"\n"


def emptied(changes: Iterable[Change]) -> list[str]:
    """The names of captions that would have no words any more."""
    return [change.file.name for change in changes if is_empty(change.new) and not is_empty(change.old)]
