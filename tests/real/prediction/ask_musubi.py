"""Runs inside musubi's Python: what do its own dataset classes make of these datasets?

Reads a list of groups from standard input as JSON. Each group has the `config` of a dataset.toml and `media`: true
where pictures and clips are to be read, as for caching; the cache files are then written, without content, under the
names that musubi gives them. `lengths` are trainings to be counted, each with `epochs`, `steps` and `accumulation`;
musubi's own statements count them. Answers with one object per group: per dataset the cache files with their buckets;
what musubi logs when it sorts the cache for training; the files that it would train on; the lengths.
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

from musubi_tuner.dataset import config_utils, image_video_dataset

COUNTED = ("num_update_steps_per_epoch", "num_train_epochs")
EMPTY = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def cache(dataset: Any) -> dict[str, Any]:
    Path(dataset.cache_directory).mkdir(exist_ok=True)
    latents: dict[str, list[int]] = {}
    texts: dict[str, str] = {}
    for bucket, batch in dataset.retrieve_latent_cache_batches(2):
        latents |= {written(item.latent_cache_path): list(bucket) for item in batch}
    for batch in dataset.retrieve_text_encoder_output_cache_batches(2):
        texts |= {written(item.text_encoder_output_cache_path): item.caption for item in batch}
    return {"latents": latents, "texts": texts}


def written(path: str) -> str:
    """The file's name; the file itself is made without content."""
    Path(path).write_bytes(EMPTY)
    return Path(path).name


def answer(group: dict[str, Any]) -> dict[str, Any]:
    generator = config_utils.BlueprintGenerator(config_utils.ConfigSanitizer())
    blueprint = generator.generate(group["config"], argparse.Namespace(), architecture="wan").dataset_group
    cached = []
    if group["media"]:
        cached = [cache(dataset) for dataset in config_utils.generate_dataset_group_by_blueprint(blueprint).datasets]
    log = Lines()
    logging.getLogger().addHandler(log)
    try:
        datasets = config_utils.generate_dataset_group_by_blueprint(blueprint, training=True)
    finally:
        logging.getLogger().removeHandler(log)
    return {
        "cached": cached,
        "log": log.lines,
        "batches": len(datasets),
        "items": datasets.num_train_items,
        "lengths": [length(len(datasets), **wanted) for wanted in group.get("lengths", []) if len(datasets)],
        "trained": sorted({path for dataset in datasets.datasets for path in trained_on(dataset)}),
    }


@functools.cache
def counting() -> CodeType:
    """The statements of musubi's trainer that turn a number of batches into steps and epochs, cut out of its source."""
    package = Path(config_utils.__file__).parents[1]
    sources = [package / "training" / "trainer_base.py", package / "hv_train_network.py"]
    tree = ast.parse(next(path for path in sources if path.exists()).read_text(encoding="utf-8"))
    wanted = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.If) and ast.unparse(node.test) == "args.max_train_epochs is not None")
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in COUNTED)
    ]
    statements = sorted(wanted, key=lambda node: node.lineno)
    assert len(statements) == 3, [ast.unparse(node) for node in statements]
    return compile(ast.Module(list(statements), []), "musubi's trainer", "exec")


def length(batches: int, epochs: int | None, steps: int, accumulation: int) -> list[int]:
    """Optimizer steps and epochs as musubi's trainer counts them on one GPU."""
    args = argparse.Namespace(max_train_epochs=epochs, max_train_steps=steps, gradient_accumulation_steps=accumulation)
    accelerator = argparse.Namespace(num_processes=1, print=lambda _: None)
    names = {"args": args, "accelerator": accelerator, "train_dataloader": range(batches), "math": math}
    exec(counting(), names)
    return [args.max_train_steps, names["num_train_epochs"]]


def trained_on(dataset: Any) -> Iterator[str]:
    """The cache files that a training would read."""
    for bucket in dataset.batch_manager.buckets.values():
        for item in bucket:
            yield item.latent_cache_path
            yield item.text_encoder_output_cache_path


def ask_more_often() -> None:
    """musubi asks every tenth of a second whether a picture is read, which is nearly all that a thousand cases take."""
    pause = time.sleep
    image_video_dataset.time = SimpleNamespace(sleep=lambda _: pause(0.001))


if __name__ == "__main__":
    ask_more_often()
    print(json.dumps([answer(group) for group in json.load(sys.stdin)]))
