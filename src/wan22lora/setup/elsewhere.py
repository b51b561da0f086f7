"""An environment in which git, venv and pip work where they are told to."""

from __future__ import annotations

import os
from collections.abc import Mapping

_MISLEADING = frozenset(
    {
        # git run from a hook: another repository
        *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX"),
        # another Python's packages, or another place to install to
        *("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "VIRTUAL_ENV"),
        *("UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON", "UV_TARGET", "UV_PREFIX", "__PYVENV_LAUNCHER__"),
    }
)


def undisturbed(added: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's variables without those that send a tool elsewhere, and with messages in English.

    git must not ask for a password either: a mistyped address is to end in an error that somebody sees.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    return {**kept, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1", "GIT_TERMINAL_PROMPT": "0", **(added or {})}
