"""Which musubi-tuner this extension was written for, told by the files that it builds on."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from .failing import TrainingFailed

REVISION = "v0.3.4 (30c658c)"
PARTS = {
    "wan_train_network.py": "83068e6198e097e711c580d659268f4358ac6f1d6d7b74eeef2a3abf430c96cc",
    "hv_train_network.py": "a1629051ab76eb71cb2de44944e705d979b8b339e76f389a33477e3101c30e5b",
    "wan_generate_video.py": "8739b1d8e90404fbad83768cea8eb11b70275e1fcf22cb0adf4395233975a457",
    "hv_generate_video.py": "7074e2852f5d7e0300e87acaabd2c1b09b03b35da4efa1c48eff8354aa24e553",
    "dataset/": "01a9aeba42af9f2208c5aceca0ed0c62197d79052e7141ac0c887c0805a21c31",
    "modules/": "d5bab459fecde7325e71ad7c3d00b42383541a6854b45cd406639b60c2562171",
    "networks/": "6b73d37b5cca7a1d85c2006e8d3e8f948a174679607671735a3dcd5d3b3be5a1",
    "training/": "f44e86ca699ca1b64f88786939b9a6660a95bc741da387c7c0b36e385173493b",
    "utils/": "730a5935ce6cdcd11b8d52d9ad6130ffdc3a60df967fd6689d2984d75d1f82cb",
    "wan/configs/": "e3e24236ba3c61ee3925e2b5a86fe597a055ac5aa8f363d44794e1588e3ed1ba",
    "wan/modules/": "d5afabf8115fb965666f1dc9e263223a3501d7006ddefc7742cf1bd6d79694d8",
    "wan/utils/": "3b6617dc128ef5600a127fa5e8905cbf68314df9d9903d57717cee5c0e1b6875",
}
"""SHA-256 of the files, and of the folders with a slash (see `_digest`), that a training of Wan runs, at 30c658c."""


def require_known_musubi() -> None:
    """Raises TrainingFailed where the musubi-tuner on this Python's path is another one; imports nothing of it."""
    found = importlib.util.find_spec("musubi_tuner")
    if found is None or not found.submodule_search_locations:
        raise TrainingFailed("wrong-musubi", "this Python has no musubi_tuner on its path", "wan22lora setup")
    folder = Path(next(iter(found.submodule_search_locations)))
    different = [name for name, digest in PARTS.items() if _digest(folder / name) != digest]
    if different:
        names = ", ".join(different[:3]) + (f" and {len(different) - 3} more" if len(different) > 3 else "")
        raise TrainingFailed(
            "wrong-musubi",
            f"the trainer was written for musubi-tuner {REVISION}; the one in {folder} differs in {names}",
            "wan22lora setup brings that revision; trainer: plain trains with what is there, but from the first step",
        )


def _digest(part: Path) -> str:
    """Of a file its contents; of a folder the names and contents of the Python files that lie in it."""
    try:
        if not part.is_dir():
            return hashlib.sha256(part.read_bytes()).hexdigest()
        together = hashlib.sha256()
        for file in sorted(part.glob("*.py"), key=lambda file: file.name):
            together.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        return together.hexdigest()
    except OSError:
        return ""
