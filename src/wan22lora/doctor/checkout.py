"""What is in the folder where musubi-tuner should be: asked of git, or read from its files where git will not say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wan22lora.musubi.checkout import commit_from_files
from wan22lora.musubi.programs import TRAIN, Programs
from wan22lora.run.ask import ask

_GIT_SECONDS = 30.0


@dataclass(frozen=True)
class Checkout:
    """musubi-tuner's folder as it is."""

    state: Literal["missing", "something else", "there"] = "missing"
    commit: str | None = None
    """The full commit; None where there is no git repository, or nothing in it."""
    modified: tuple[str, ...] | None = ()
    """Tracked files that differ from the commit, and files in src/ that it does not know; None: git did not say."""
    trouble: str = ""
    """git's words where it refuses."""
    requirements: Mapping[str, str] | None = None
    """Versions that its pyproject.toml demands exactly, by distribution; None where there is none to read."""


def read_checkout(folder: Path) -> Checkout:
    """Asks git twice, and changes nothing."""
    if not folder.is_dir():
        return Checkout()
    if not Programs(folder, Path()).script(TRAIN).is_file():
        return Checkout("something else")
    commit, modified, trouble = _asked(folder)
    return Checkout("there", commit or commit_from_files(folder), modified, trouble, _requirements(folder))


def git_version() -> str | None:
    """git's version, or None without a git."""
    git = shutil.which("git")
    if git is None:
        return None
    return ask([git, "--version"], timeout=_GIT_SECONDS).stdout.strip().removeprefix("git version ") or None


def _asked(folder: Path) -> tuple[str | None, tuple[str, ...] | None, str]:
    git = shutil.which("git")
    if git is None:
        return None, None, "git is not installed"
    if not (folder / ".git").exists():  # git would answer for a repository around it
        return None, None, "it is no git repository"
    # A hook's GIT_DIR would answer for another repository; without optional locks git writes nothing.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    question = [git, "--no-optional-locks", "-C", str(folder)]
    head = ask([*question, "rev-parse", "--verify", "HEAD"], env={**environment, "LC_ALL": "C"}, timeout=_GIT_SECONDS)
    if not head.ok:
        return None, None, "git took too long" if head.timed_out else head.stderr.strip().partition("\n")[0]
    status = ask(
        [*question, "status", "--porcelain", "-z", "--untracked-files=normal", "--no-renames"],
        env={**environment, "LC_ALL": "C"},
        timeout=_GIT_SECONDS,
    )
    if not status.ok:
        return head.stdout.strip(), None, "git took too long" if status.timed_out else status.last_line
    entries = [entry for entry in status.stdout.split("\0") if entry]
    modified = [entry[3:] for entry in entries if not entry.startswith("??") or entry[3:].startswith("src/")]
    return head.stdout.strip(), tuple(modified), ""


def _requirements(folder: Path) -> Mapping[str, str] | None:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        pairs = (str(requirement).split("==", 1) for requirement in project["dependencies"])
        return {pair[0].strip().lower(): pair[1].strip() for pair in pairs if len(pair) == 2}
    except (OSError, ValueError, KeyError, TypeError):
        return None
