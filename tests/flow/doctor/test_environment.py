"""A real virtual environment whose packages are a few lines each, asked as musubi's is."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from wan22lora.doctor.environment import MODULES, ask_environment
from wan22lora.machine.settings import Machine

TORCH = """
    __version__ = "2.7.1+cu128"
    from . import cuda, version
    class _Answer:
        def __matmul__(self, other): return self
        def sum(self): return self
        def item(self): return 8.0
    def ones(*size, device): return _Answer()
"""
CUDA = """
    import warnings
    def is_available():
        if not {available}: warnings.warn("The NVIDIA driver on your system is too old")
        return {available}
    def get_device_name(index): return "NVIDIA GeForce RTX 4090"
    def get_device_capability(index): return (8, 9)
    def get_arch_list(): return ["sm_80", "sm_90"]
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("env") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


class Box:
    """An environment of its own and a checkout beside it."""

    def __init__(self, template: Path, folder: Path) -> None:
        self.site = folder / "site"
        self.site.mkdir()
        checkout = folder / "musubi-tuner"
        package = checkout / "src" / "musubi_tuner"
        package.mkdir(parents=True)
        for name in ("__init__", "wan_cache_latents", "wan_cache_text_encoder_outputs", "wan_train_network"):
            (package / f"{name}.py").write_text("")
        (inside,) = template.glob("lib/python*/site-packages")
        (inside / "box.pth").write_text(f"{self.site}\n")  # its site-packages are this box's for one test
        self.machine = Machine(checkout, "a test", template / "bin" / "python", folder / "models")
        for name in MODULES:
            if name not in ("torch", "musubi_tuner"):
                self.add(name, '__version__ = "1.0"')
        self.add_torch(available=True)

    def add(self, name: str, code: str) -> None:
        path = self.site / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(code))

    def add_torch(self, *, available: bool, cuda: str = '"12.8"') -> None:
        self.add("torch.__init__", TORCH)
        self.add("torch.version", f"cuda = {cuda}")
        self.add("torch.cuda", CUDA.format(available=available))

    def add_distribution(self, name: str, version: str) -> None:
        folder = self.site / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def box(template: Path, tmp_path: Path) -> Box:
    return Box(template, tmp_path)


def test_everything_that_is_asked_comes_back(box: Box) -> None:
    box.add_distribution("accelerate", "1.6.0")
    found = ask_environment(box.machine)
    assert found.state == "asked"
    assert found.version == sys.version_info[:3]
    assert found.errors == {}
    assert set(MODULES) <= set(found.modules)
    assert found.modules["torch"] == "2.7.1+cu128"
    assert "musubi_tuner.wan_train_network" in found.modules
    assert found.distributions == {"accelerate": "1.6.0"}
    assert found.torch is not None
    assert (found.torch.cuda, found.torch.available, found.torch.computes) == ((12, 8), True, True)
    assert (found.torch.name, found.torch.capability) == ("NVIDIA GeForce RTX 4090", (8, 9))
    assert found.torch.architectures == ("sm_80", "sm_90")


@pytest.mark.parametrize(("compiler", "lack"), [("no-such-cc", "CC names no-such-cc"), ("true", "need triton")])
def test_what_is_lacking_for_compiling_comes_back(
    box: Box, monkeypatch: pytest.MonkeyPatch, compiler: str, lack: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    found = ask_environment(box.machine).compiling
    assert found is not None
    assert lack in found.lack
    assert found.fix


def test_without_a_gpu_the_programs_are_not_imported(box: Box) -> None:
    """wan/modules/t5.py:457 asks for the GPU while it is imported."""
    box.add_torch(available=False)
    found = ask_environment(box.machine)
    assert found.torch is not None
    assert (found.torch.available, found.torch.trouble) == (False, "The NVIDIA driver on your system is too old")
    assert "musubi_tuner.wan_train_network" not in found.modules
    assert found.compiling is None
    assert found.errors == {}


def test_a_build_without_cuda_is_known_as_one(box: Box) -> None:
    box.add_torch(available=False, cuda="None")
    found = ask_environment(box.machine)
    assert found.torch is not None
    assert found.torch.cuda is None


def test_modules_that_a_run_wants_are_asked_for(box: Box) -> None:
    box.add("xformers.ops", "")
    found = ask_environment(box.machine, ["xformers.ops", "bitsandbytes"])
    assert "xformers.ops" in found.modules
    assert "No module named 'bitsandbytes'" in found.errors["bitsandbytes"]


def test_what_a_module_prints_or_raises_does_no_harm(box: Box) -> None:
    box.add("av", "print('{\"python\": [1, 1, 1]}'); import os; os.system('echo noise')")
    box.add("cv2", "raise OSError('libGL.so.1: cannot open\\nsecond line')")
    box.add("toml", "import sys; sys.exit('no')")
    found = ask_environment(box.machine)
    assert found.version == sys.version_info[:3]
    assert "av" in found.modules
    assert found.errors == {"cv2": "OSError: libGL.so.1: cannot open", "toml": "SystemExit: no"}


def test_a_module_that_kills_python_is_blamed_and_the_earlier_ones_are_known(box: Box) -> None:
    box.add("cv2", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    found = ask_environment(box.machine)
    assert found.errors == {"cv2": "ends Python (exit code 139)"}
    assert "torch" in found.modules
    assert found.stuck_at == "cv2"


def test_a_module_that_hangs_is_blamed_when_the_time_is_over(box: Box) -> None:
    box.add("av", "import time; time.sleep(60)")
    begun = time.monotonic()
    found = ask_environment(box.machine, timeout=2)
    assert time.monotonic() - begun < 10
    assert found.errors == {"av": "takes too long"}


def test_packages_in_the_working_directory_are_not_taken_for_installed_ones(box: Box) -> None:
    (box.site / "toml.py").unlink()
    (box.machine.musubi / "toml.py").write_text("")
    assert "toml" in ask_environment(box.machine).errors


def test_nothing_is_written_into_the_checkout(box: Box) -> None:
    before = sorted(box.machine.musubi.rglob("*"))
    ask_environment(box.machine)
    assert sorted(box.machine.musubi.rglob("*")) == before


def test_a_python_that_is_not_there_or_no_program_is_told(box: Box, tmp_path: Path) -> None:
    from dataclasses import replace

    assert ask_environment(replace(box.machine, python=tmp_path / "nothing")).state == "missing"
    text = tmp_path / "python"
    text.write_text("no program")
    assert ask_environment(replace(box.machine, python=text)).state == "cannot start"
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho 'cannot load libpython' >&2\nexit 127\n")
    failing.chmod(0o755)
    found = ask_environment(replace(box.machine, python=failing))
    assert (found.state, found.detail) == ("cannot start", "cannot load libpython")
