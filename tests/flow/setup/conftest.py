"""A machine of a test's own: home, data, PATH, wheels, and a repository to clone from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .packages import Origin, make_origin, make_wheels

HERE = Path(__file__).parent
SOURCE = HERE.parents[2] / "src"
PYTHONS = ("python3.12", "python3.11", "python3.10")


@dataclass(frozen=True)
class Finished:
    exit_code: int
    output: str


@dataclass
class Box:
    """A fresh machine."""

    path: Path
    origin: Origin
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.path / "data" / "wan22lora"

    @property
    def checkout(self) -> Path:
        return self.data / "musubi-tuner"

    @property
    def machine_yaml(self) -> Path:
        return self.path / "machine.yaml"

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "driver.py"), "setup", *words],
            cwd=self.path,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self.started.append(process)
        return process

    def setup(self, *words: str, **environment: str) -> Finished:
        """A whole setup without weights, asked nothing."""
        process = self.start("--yes", "--no-models", "--musubi-repo", self.origin.url, *words, **environment)
        output, _ = process.communicate(timeout=120)
        return Finished(process.returncode, output)

    def clone(self, commit: str) -> None:
        """musubi-tuner as a person gets it by hand."""
        self.data.mkdir(parents=True)
        subprocess.run(["git", "clone", "--quiet", self.origin.url, str(self.checkout)], check=True)
        self.git("checkout", "--quiet", commit)

    def git(self, *words: str) -> str:
        command = ["git", "-C", str(self.checkout), "-c", "user.name=t", "-c", "user.email=t@localhost", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("setup") / "wheels"
    make_wheels(folder)
    return folder


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    return make_origin(tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that musubi takes, whichever runs the tests."""
    if (3, 10) <= sys.version_info < (3, 13):
        return sys.executable
    for name in PYTHONS:
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", "import ensurepip"], capture_output=True).returncode == 0:
            return found
    pytest.skip("needs a Python from 3.10 to 3.12 on PATH")


@dataclass
class Boxes:
    """Makes machines, each in a folder of its own."""

    path: Path
    wheels: Path
    origin: Origin
    python: str
    made: list[Box] = field(default_factory=list)

    def box(self, name: str = "box", *, quick: bool = False) -> Box:
        """Without uv, whatever the real machine has: PATH holds git, sh and one Python. `quick`: a stand-in for uv."""
        folder = self.path / name
        programs = folder / "bin"
        programs.mkdir(parents=True)
        for tool in ("git", "sh", "uname", "env"):
            found = shutil.which(tool)
            assert found, f"the tests need {tool}"
            (programs / tool).symlink_to(found)
        _script(programs / "python3", self.python)
        if quick:
            _script(programs / "uv", f"{self.python} -I -S {HERE / 'stand_in_uv.py'}")
        (folder / "home").mkdir()
        box = Box(folder, self.origin, self._environment(folder))
        self.made.append(box)
        return box

    def _environment(self, folder: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ}
        return {
            **kept,
            "HOME": str(folder / "home"),
            "XDG_DATA_HOME": str(folder / "data"),
            "WAN22LORA_MACHINE": str(folder / "machine.yaml"),
            "PATH": str(folder / "bin"),
            "PYTHONPATH": str(SOURCE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUTF8": "1",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_COMPILE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.wheels),
            "UV_PYTHON_DOWNLOADS": "never",
            "TEST_PIN": self.origin.pin,
            "TEST_GPU": "12.8",
        }

    def close(self) -> None:
        for process in (process for box in self.made for process in box.started):
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def _script(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def boxes(tmp_path: Path, wheels: Path, origin: Origin, python: str) -> Iterator[Boxes]:
    boxes = Boxes(tmp_path, wheels, origin, python)
    yield boxes
    boxes.close()


@pytest.fixture
def box(boxes: Boxes) -> Box:
    return boxes.box()


@pytest.fixture
def quick_box(boxes: Boxes) -> Box:
    """One with a stand-in for uv, for what does not depend on who installs."""
    return boxes.box(quick=True)


def wait_for(path: Path, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.01)
