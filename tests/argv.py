"""What of a step's command its program sees."""

from __future__ import annotations

from wan22lora.musubi.programs import is_program


def option_tokens(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The words after the script: what its own parser is given. Fails where no program is named."""
    at = next(index for index, token in enumerate(argv) if is_program(token))
    return argv[at + 1 :]
