"""A Python that runs the unmodified musubi-tuner on a CPU with small models."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

_SHIM = Path(__file__).parent / "shim"
_SITE_PACKAGES = "import json, sys; print(json.dumps([p for p in sys.path if p.endswith('-packages')]))"


def find_python(checkout: Path) -> Path | None:
    """The Python of musubi's environment: WAN22LORA_MUSUBI_PYTHON, else the checkout's .venv or venv."""
    named = os.environ.get("WAN22LORA_MUSUBI_PYTHON")
    places = [Path(named)] if named else [checkout / name / "bin" / "python" for name in (".venv", "venv")]
    return next((place for place in places if place.is_file()), None)


def make_python(real: Path, folder: Path) -> Path:
    """Makes a virtual environment in `folder` with the packages of `real` and the shim; returns its Python.

    `real` stays as it is. The shim comes by a .pth file, so it also reaches the processes that the programs
    start themselves, as accelerate does.
    """
    packages = json.loads(subprocess.check_output([real, "-c", _SITE_PACKAGES], text=True))
    subprocess.run([real, "-m", "venv", "--without-pip", "--symlinks", folder], check=True)
    python = folder / "bin" / "python"
    own = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True
    )
    lines = [*packages, str(_SHIM), "import musubi_on_cpu, small_musubi"]
    (Path(own.strip()) / "small_musubi.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return python


def make_environment(checkout: Path, hf_home: Path) -> dict[str, str]:
    """The variables for the programs of `checkout`: its sources, a hub cache, no network and no GPU."""
    outside = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if key in os.environ}
    return outside | {
        "PYTHONPATH": str(checkout / "src"),
        "PYTHONUTF8": "1",
        "HF_HOME": str(hf_home),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        # On a busy machine threads wait for each other: with two a picture takes 1.7 s, with one 0.3 s.
        "OMP_NUM_THREADS": "1",
    }
