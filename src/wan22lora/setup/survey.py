"""What is on the machine already. Looks only: changes nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wan22lora.errors import MachineError
from wan22lora.files import read_json
from wan22lora.machine.settings import ENVIRONMENT_MARKER
from wan22lora.machine.torch_build import Card
from wan22lora.run.ask import Answer, ask
from wan22lora.setup.elsewhere import undisturbed
from wan22lora.setup.interpreter import Interpreter, find_interpreter, python_works

MOVING = "wan22lora-moving.json"
"""Inside `.git` while setup takes a clean checkout to another commit."""
_GIT_SECONDS = 60.0


@dataclass(frozen=True)
class Checkout:
    """The folder where musubi-tuner is, or is to be."""

    path: Path
    state: Literal["absent", "not-git", "refused", "git"]
    """`refused`: git itself does not want to work there, and `problem` is what it says."""
    head: str = ""
    changed: tuple[str, ...] = ()
    """Tracked files with changes that are in no commit."""
    nameless: bool = False
    """Whether the current commit is on no branch or tag, so that leaving it would lose it."""
    moving: bool = False
    """Whether an earlier setup was killed while it took this checkout from one commit to another."""
    git_folder: Path = Path()
    problem: str = ""

    @property
    def partial(self) -> Path:
        """Where a new clone grows before it takes its place."""
        return self.path.with_name(f".{self.path.name}.wan22lora-partial")


@dataclass(frozen=True)
class Environment:
    """musubi's Python environment, or the place for it."""

    folder: Path
    python: Path
    state: Literal["absent", "half-done", "broken", "done", "own"]
    """`own`: a person made it, so setup leaves it as it is."""
    marker: Mapping[str, Any]

    @property
    def rubbish(self) -> Path:
        """An environment on its way out."""
        return self.folder.with_name(f"{self.folder.name}.wan22lora-removed")

    @property
    def marker_path(self) -> Path:
        return self.folder / ENVIRONMENT_MARKER


@dataclass(frozen=True)
class Survey:
    """The machine before a setup."""

    git: str
    """git's version; empty if it is not there."""
    uv: str
    """uv's path; empty if it is not there."""
    interpreter: Interpreter | None
    gpu: Card | None
    checkout: Checkout
    environment: Environment


def survey(checkout: Path, python: Path, gpu: Card | None) -> Survey:
    """Look at the machine; `python` is that of musubi's environment, there or not."""
    git = _version_of_git()
    uv = shutil.which("uv") or ""
    environment = look_at_environment(checkout, python)
    needed = environment.state != "own"
    return Survey(
        git=git,
        uv=uv,
        interpreter=find_interpreter(with_pip=not uv) if needed else None,
        gpu=gpu,
        checkout=look_at_checkout(checkout, has_git=bool(git)),
        environment=environment,
    )


def look_at_checkout(path: Path, *, has_git: bool) -> Checkout:
    """What a folder holds; a repository further up, such as a home under git, does not count."""
    if not _holds_something(path):
        return Checkout(path, "absent")
    if not (path / ".git").exists():
        return Checkout(path, "not-git")
    if not has_git:
        return Checkout(path, "refused", problem="git is not installed")
    answer = _git(path, "rev-parse", "--absolute-git-dir", "HEAD")
    if not answer.ok:
        return Checkout(path, "refused", problem=answer.stderr.strip() or "git does not answer")
    folder, head = answer.stdout.splitlines()[:2]
    changed = _git(path, "status", "--porcelain", "--untracked-files=no").stdout.splitlines()
    named = _git(path, "for-each-ref", "--count=1", "--contains", head).stdout.strip()
    return Checkout(
        path,
        "git",
        head=head,
        changed=tuple(line[3:] for line in changed),
        nameless=not named,
        moving=(Path(folder) / MOVING).exists(),
        git_folder=Path(folder),
    )


def look_at_environment(checkout: Path, python: Path) -> Environment:
    """Whose environment it is, and whether it is whole."""
    ours = checkout / ".venv"
    folder = python.parent.parent
    if folder != ours:
        return Environment(folder, python, "own", {})
    marker = read_json(ours / ENVIRONMENT_MARKER)
    if not marker:
        state: Literal["absent", "own"] = "own" if (ours / "pyvenv.cfg").exists() else "absent"
        return Environment(ours, python, state, {})
    if marker.get("state") != "done":
        return Environment(ours, python, "half-done", marker)
    return Environment(ours, python, "done" if python_works(python) else "broken", marker)


def _version_of_git() -> str:
    try:
        answer = ask(("git", "--version"), timeout=_GIT_SECONDS)
    except MachineError:
        return ""
    found = re.search(r"\d+(\.\d+)+", answer.stdout)
    return found[0] if answer.ok and found else ""


def _git(path: Path, *words: str) -> Answer:
    """A question that changes nothing, not even the index's time stamps."""
    return ask(("git", "--no-optional-locks", "-C", str(path), *words), env=undisturbed(), timeout=_GIT_SECONDS)


def _holds_something(path: Path) -> bool:
    try:
        return any(path.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise MachineError(f"{path} cannot be read: {error.strerror}.") from None
