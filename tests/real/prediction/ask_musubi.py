"""Runs inside musubi's Python: what do its own dataset classes make of these datasets?

Reads a list of groups from standard input as JSON. Each group has the `config` of a dataset.toml and `media`: true
where pictures and clips are to be read, as for caching; the cache files are then written, without content, under the
names that musubi gives them. Answers with one object per group: per dataset the cache files with their buckets, and
what musubi logs when it sorts the cache for training, and the files that it would train on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musubi_tuner.dataset import config_utils

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
    for bucket, batch in dataset.retrieve_latent_cache_batches(8):
        latents |= {written(item.latent_cache_path): list(bucket) for item in batch}
    for batch in dataset.retrieve_text_encoder_output_cache_batches(8):
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
        "trained": sorted({path for dataset in datasets.datasets for path in trained_on(dataset)}),
    }


def trained_on(dataset: Any) -> Iterator[str]:
    """The cache files that a training would read."""
    for bucket in dataset.batch_manager.buckets.values():
        for item in bucket:
            yield item.latent_cache_path
            yield item.text_encoder_output_cache_path


if __name__ == "__main__":
    print(json.dumps([answer(group) for group in json.load(sys.stdin)]))
