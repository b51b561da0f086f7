"""The real git on real repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wan22lora.doctor.checkout import git_version, read_checkout
from wan22lora.musubi.checkout import commit_from_files

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *words: str) -> str:
    names = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", "-C", str(folder), *words], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository laid out like musubi-tuner, with one commit."""
    folder = tmp_path / "musubi-tuner"
    (folder / "src" / "musubi_tuner").mkdir(parents=True)
    (folder / "src" / "musubi_tuner" / "wan_train_network.py").write_text("print('train')\n")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "musubi-tuner"\ndependencies = ["accelerate==1.6.0", "Toml == 0.10.2", "bitsandbytes"]\n'
    )
    (folder / ".gitignore").write_text(".venv\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "all")
    return folder


def test_a_clean_checkout_has_its_commit_and_no_changes(checkout: Path) -> None:
    found = read_checkout(checkout)
    assert (found.state, found.commit, found.modified) == ("there", git(checkout, "rev-parse", "HEAD"), ())
    assert found.requirements == {"accelerate": "1.6.0", "toml": "0.10.2"}


def test_changed_new_and_ignored_files_are_told_apart(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text("")
    (checkout / "src" / "musubi_tuner" / "with a blank.py").write_text("")
    (checkout / "notes.txt").write_text("not musubi's business")
    (checkout / ".venv").mkdir()
    found = read_checkout(checkout)
    assert found.modified == ("pyproject.toml", "src/musubi_tuner/with a blank.py")
    assert found.requirements is None


def test_looking_writes_nothing(checkout: Path) -> None:
    index = checkout / ".git" / "index"
    before = index.stat().st_mtime_ns
    os.utime(checkout / "pyproject.toml")  # `git status` would refresh the index
    read_checkout(checkout)
    assert index.stat().st_mtime_ns == before


def test_a_folder_in_a_repository_of_something_else_is_none(tmp_path: Path, checkout: Path) -> None:
    inner = checkout / "copy"
    shutil.copytree(checkout / "src", inner / "src")
    found = read_checkout(inner)
    assert (found.state, found.commit) == ("there", None)
    assert read_checkout(tmp_path).state == "something else"
    assert read_checkout(tmp_path / "nothing").state == "missing"


def test_variables_of_a_git_hook_do_not_lead_elsewhere(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert read_checkout(checkout).commit is not None


@pytest.mark.parametrize("form", ["branch", "detached", "packed", "worktree"])
def test_without_git_the_commit_is_read_from_its_files(checkout: Path, tmp_path: Path, form: str) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    folder = checkout
    if form == "detached":
        git(checkout, "checkout", "--quiet", commit)
    elif form == "packed":
        git(checkout, "pack-refs", "--all")
    elif form == "worktree":
        folder = tmp_path / "worktree"
        git(checkout, "worktree", "add", "--quiet", "-b", "other", str(folder))
    assert commit_from_files(folder) == commit
    assert read_checkout(folder).commit == commit


def test_an_empty_repository_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert commit_from_files(tmp_path) is None


def test_without_git_on_the_path_files_still_tell(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "")
    found = read_checkout(checkout)
    assert (found.commit, found.modified, found.trouble) == (commit, None, "git is not installed")
    assert git_version() is None


def test_a_damaged_repository_is_git_s_words_and_no_crash(checkout: Path) -> None:
    (checkout / ".git" / "HEAD").write_text("nonsense\n")
    found = read_checkout(checkout)
    assert (found.state, found.commit, found.modified) == ("there", None, None)
    assert found.trouble
