"""Which commit a checkout is at, told by its files: no git is asked."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def commit_from_files(folder: Path) -> str | None:
    """The commit that HEAD names, read from the repository's files; None where they do not tell."""
    with suppress(OSError, UnicodeDecodeError):
        git = folder / ".git"
        if git.is_file():  # a worktree or submodule: `gitdir: …`
            git = folder / git.read_text(encoding="utf-8").partition(":")[2].strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return _commit(head)
        ref = head.partition(":")[2].strip()
        common = git / "commondir"
        shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
        for place in (git, shared):
            if (place / ref).is_file():
                return _commit((place / ref).read_text(encoding="utf-8").strip())
        for line in (shared / "packed-refs").read_text(encoding="utf-8").splitlines():
            commit, _, name = line.partition(" ")
            if name == ref:
                return _commit(commit)
    return None


def _commit(text: str) -> str | None:
    return text if len(text) == 40 and all(letter in "0123456789abcdef" for letter in text) else None
