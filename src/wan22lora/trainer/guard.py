"""Which musubi-tuner this extension was written for, told by the files that it builds on."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from .failing import TrainingFailed

REVISION = "v0.3.4 (30c658c)"
FILES = {
    "wan_train_network.py": "83068e6198e097e711c580d659268f4358ac6f1d6d7b74eeef2a3abf430c96cc",
    "training/trainer_base.py": "15426a9bca05a3ead5fb158b52a9850ecc6226e0eed2c449e7e8a56ae6fe2ea2",
    "training/accelerator_setup.py": "a5f367ec1fac084ac4fc54327e4642104def22cc567c6ef0f564cdd3db6399c7",
    "training/parser_common.py": "72abe9fdafe87934ca2937e18c26b1eff272436da0fb7627f6ad45ad3b279322",
    "training/sampling_prompts.py": "6cb04b861fde3ee630819e2b9bda689a83dfd6e294bf8c83bca1968c1a1e58fe",
    "dataset/image_video_dataset.py": "7951419af56d4265926c733d1df3ed6763009f3b0c717cade8df27418356bc8a",
    "dataset/bucket.py": "aab8c02aeabb41c9b0a88f98e6689da07f1306042f20536c2fd706c9168386e6",
    "modules/custom_offloading_utils.py": "3e986e682be7b9106c02db65586acde5e2a61654a6875327f04e25cae3ad68a9",
    "networks/lora.py": "8a720566212d34c08d5862782aba0db6a3d6dd7e208cd56ddb05371a8886905e",
    "utils/lora_utils.py": "ff96acf7702068b78e02eb9da67959fd7b294ba456b16792ee83113443b1a5a8",
    "utils/model_utils.py": "3d5494c523afd9c88ca334e96fc52512fb0e3fb4c46d78500afaf8f6eda53d47",
    "utils/safetensors_utils.py": "0d14ea6868e89717543abfe618b2493133872f116c8ddbc0313dc26600c37669",
    "utils/train_utils.py": "eb28dc573377105a92447f89f12e7f53447672a450b75d988688f7314465b254",
    "wan/modules/model.py": "037e1b1d09aa64a81834f4eaa458020a7738d3a632e96666fcd9baebff604ad5",
}
"""SHA-256 of the files whose workings the extension relies on, at 30c658c."""


def require_known_musubi() -> None:
    """Raises TrainingFailed where the musubi-tuner on this Python's path is another one; imports nothing of it."""
    found = importlib.util.find_spec("musubi_tuner")
    if found is None or not found.submodule_search_locations:
        raise TrainingFailed("wrong-musubi", "this Python has no musubi_tuner on its path", "wan22lora setup")
    folder = Path(next(iter(found.submodule_search_locations)))
    different = [name for name, digest in FILES.items() if _digest(folder / name) != digest]
    if different:
        names = ", ".join(different[:3]) + (f" and {len(different) - 3} more" if len(different) > 3 else "")
        raise TrainingFailed(
            "wrong-musubi",
            f"the trainer was written for musubi-tuner {REVISION}; the one in {folder} differs in {names}",
            "wan22lora setup brings that revision; trainer: plain in run.yaml trains with what is there",
        )


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
