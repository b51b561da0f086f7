"""The captions of the preservation class: every caption with the trigger replaced by what the trigger is one of."""

from __future__ import annotations

import hashlib


def class_folder(class_: str) -> str:
    """The folder of a class's caption caches inside each dataset's cache folder, where musubi's training never looks."""
    return f"class-{hashlib.sha256(class_.encode()).hexdigest()[:8]}"
