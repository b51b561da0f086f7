"""Text from files and their names, made fit for a screen."""

from __future__ import annotations


def readable(text: str) -> str:
    """What a screen would obey (control characters, reversed writing) or refuse (bytes of names that are no text) is
    spelled out, as `\\x1b`; line ends stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    joins_emoji = character == "\u200d"
    if character.isprintable() or character == "\n" or joins_emoji:
        return character
    return character.encode("unicode_escape").decode()
