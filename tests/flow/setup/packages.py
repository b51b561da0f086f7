"""Small stand-ins for torch and what musubi needs, as real wheels, and a repository laid out like musubi-tuner."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TORCH = """
import os

__version__ = "{version}"


class version:
    cuda = "12.8"


class _Matrix:
    def __matmul__(self, other):
        return self

    def sum(self):
        return self

    def item(self):
        return 8.0


def ones(*size, device):
    return _Matrix()


class cuda:
    @staticmethod
    def is_available():
        return "TEST_GPU" in os.environ

    @staticmethod
    def get_device_name(index):
        return "Test GPU"

    @staticmethod
    def get_device_capability(index):
        return (9, 0)

    @staticmethod
    def get_arch_list():
        return ["sm_90"]
"""
NEEDED = (
    *("accelerate", "transformers", "diffusers", "safetensors", "einops", "av", "cv2", "easydict", "ftfy", "toml"),
    "voluptuous",
)
PROGRAMS = ("wan_cache_latents", "wan_cache_text_encoder_outputs", "wan_train_network")
BACKEND = '''
"""Builds the editable wheel of this repository without fetching anything."""

import os
import zipfile

NAME = "musubi_tuner-0.3.4"
METADATA = "Metadata-Version: 2.1\\nName: musubi-tuner\\nVersion: 0.3.4\\nRequires-Dist: what-musubi-needs\\n"


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = f"{NAME}-py3-none-any.whl"
    files = {
        "musubi_tuner.pth": os.path.join(os.getcwd(), "src") + "\\n",
        f"{NAME}.dist-info/METADATA": METADATA,
        f"{NAME}.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\n"
        "Tag: py3-none-any\\n",
    }
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        wheel.writestr(f"{NAME}.dist-info/RECORD", "".join(f"{path},,\\n" for path in files))
    return name
'''
PYPROJECT = """\
[project]
name = "musubi-tuner"
version = "0.3.4"
requires-python = ">=3.10, <3.13"
dependencies = ["what-musubi-needs"]

[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@dataclass(frozen=True)
class Origin:
    """The repository that musubi comes from."""

    url: str
    old: str
    """An earlier commit."""
    pin: str
    hidden: str
    """A commit that no branch leads to, as when a branch is deleted."""


def make_wheels(folder: Path) -> None:
    """Wheels of everything that a setup installs, small and pure."""
    folder.mkdir()
    for version in ("2.6.0", "2.7.1", "2.7.0"):
        _wheel(folder, "torch", version, {"torch.py": TORCH.format(version=version)})
    for name, version in (("torchvision", "0.21.0"), ("torchvision", "0.22.1"), ("torchvision", "0.22.0")):
        _wheel(folder, name, version, {f"{name}.py": ""})
    for version, torch in (("0.0.31.post1", "2.7.1"), ("0.0.30", "2.7.0")):
        _wheel(folder, "xformers", version, {"xformers/__init__.py": "", "xformers/ops.py": ""}, f"torch=={torch}")
    _wheel(folder, "prodigyopt", "1.1.2", {"prodigyopt.py": ""})
    _wheel(folder, "protobuf", "6.0", {"google/protobuf.py": ""})
    _wheel(folder, "six", "1.17", {"six.py": ""})
    _wheel(folder, "what_musubi_needs", "1.0", {f"{name}.py": "" for name in NEEDED})


def _wheel(folder: Path, name: str, version: str, files: Mapping[str, str], requires: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = {
        **files,
        f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in contents.items():
            wheel.writestr(path, content)
        wheel.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*contents, f"{info}/RECORD")))


def make_origin(folder: Path) -> Origin:
    """A bare repository with three commits."""
    work = folder / "work"
    _git(folder, "init", "--quiet", "--initial-branch", "main", str(work))
    source = work / "src" / "musubi_tuner"
    source.mkdir(parents=True)
    for name in ("__init__", *PROGRAMS):
        (source / f"{name}.py").write_text("", encoding="utf-8")
    for index in range(40):
        (source / f"part_{index:02d}.py").write_text(f"NUMBER = {index}\n" * 50, encoding="utf-8")
    (work / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (work / "backend.py").write_text(BACKEND, encoding="utf-8")
    (work / ".gitignore").write_text("__pycache__/\n.venv\n*.egg-info\n", encoding="utf-8")
    old = _commit(work, "old")
    for index in range(40):
        (source / f"part_{index:02d}.py").write_text(f"NUMBER = {index + 1}\n" * 60, encoding="utf-8")
    pin = _commit(work, "pin")
    (source / "later.py").write_text("", encoding="utf-8")
    hidden = _commit(work, "hidden")
    bare = folder / "musubi-tuner.git"
    _git(folder, "clone", "--quiet", "--bare", str(work), str(bare))
    _git(bare, "branch", "--force", "main", pin)
    return Origin(bare.as_uri(), old, pin, hidden)


def _commit(work: Path, message: str) -> str:
    _git(work, "add", "--all")
    _git(work, "commit", "--quiet", "--message", message)
    return _git(work, "rev-parse", "HEAD")


def _git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()
