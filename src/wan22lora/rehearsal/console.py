"""What musubi-tuner writes: log records on stderr, and the lines that it prints on stdout.

Its records come from `logging.basicConfig(level=INFO)`, so a record is `LEVEL:module:message`. Modules moved between
the two pins, and two loggers are not what one expects: at v0.3.4 the dataset's own records carry the name of
dataset/cache_io.py, whose star import replaces the logger (dataset/image_video_dataset.py:83).
"""

from __future__ import annotations

import sys
from typing import Literal

Module = Literal[
    "main",
    "options",
    "trainer",
    "config",
    "listing",
    "bucket",
    "dataset",
    "text",
    "latents",
    "model",
    "lora",
    "states",
    "accelerator",
    "saved",
]

_MODULES: dict[Module, str] = {
    "main": "__main__",
    "options": "musubi_tuner.training.parser_common",
    "trainer": "musubi_tuner.training.trainer_base",
    "config": "musubi_tuner.dataset.config_utils",
    "listing": "musubi_tuner.dataset.datasources",
    "bucket": "musubi_tuner.dataset.bucket",
    "dataset": "musubi_tuner.dataset.cache_io",
    "latents": "musubi_tuner.cache_latents",
    "text": "musubi_tuner.cache_text_encoder_outputs",
    "model": "musubi_tuner.wan.modules.model",
    "lora": "musubi_tuner.networks.lora",
    "states": "musubi_tuner.utils.train_utils",
    "accelerator": "accelerate.accelerator",
    "saved": "accelerate.checkpointing",
}
_ARTICLE_MODULES: dict[Module, str] = _MODULES | {
    "options": "musubi_tuner.hv_train_network",
    "trainer": "musubi_tuner.hv_train_network",
    "listing": "musubi_tuner.dataset.image_video_dataset",
    "bucket": "musubi_tuner.dataset.image_video_dataset",
    "dataset": "musubi_tuner.dataset.image_video_dataset",
}


class Console:
    """Both streams of one program."""

    def __init__(self, pin: str) -> None:
        self._modules = _ARTICLE_MODULES if pin == "article" else _MODULES

    def info(self, module: Module, message: str) -> None:
        self._record("INFO", module, message)

    def warning(self, module: Module, message: str) -> None:
        self._record("WARNING", module, message)

    def error(self, module: Module, message: str) -> None:
        self._record("ERROR", module, message)

    def print(self, message: str) -> None:
        """A line on stdout. Not flushed, as in musubi-tuner: in a pipe it may come late (PYTHONUNBUFFERED)."""
        print(message)

    def rehearsal(self, message: str) -> None:
        """A line of the stand-in's own, which no real run prints."""
        print(f"REHEARSAL: {message}", flush=True)

    def _record(self, level: str, module: Module, message: str) -> None:
        sys.stderr.write(f"{level}:{self._modules[module]}:{message}\n")
        sys.stderr.flush()
