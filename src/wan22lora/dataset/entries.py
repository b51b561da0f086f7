"""A picture or clip with its caption, before the picture or clip itself is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wan22lora.dataset.problems import Problems

BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Entry:
    """What a folder or a JSONL file lists."""

    path: Path
    stem: str
    caption: str | None
    """None where there is none that can be read."""
    name: str
    """What messages call it: the file's name, or the line of a JSONL file."""


def is_text(value: str) -> bool:
    """False for halves of characters: a file name of other bytes, or a lone `\\ud83d` in JSON."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_caption(caption: str, name: str, path: Path, problems: Problems) -> None:
    """Warn of captions that musubi-tuner accepts and a person hardly means."""
    if caption.startswith(BYTE_ORDER_MARK):
        what = "with a byte order mark, which becomes part of the caption"
        fix = "Save the caption as UTF-8 without BOM; in a folder `wan22lora check … --fix` does it."
        problems.add("caption-bom", what, name, path, fix=fix, level="warning")
    if not caption.strip(BYTE_ORDER_MARK).strip():
        what = "with an empty caption"
        fix = "Say what is to be seen, or at least write the trigger word."
        problems.add("caption-empty", what, name, path, fix=fix, level="warning")
