"""What the trainer finds in the cache folders, in buckets and batches.

Source: prepare_for_training in dataset/image_video_dataset.py:504-561, 854-908 and dataset/bucket.py:168-281 at v0.3.4.
It trains whatever the folder holds, in the dataset or not; a file without its caption's file is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan22lora.dataset.buckets import training_bucket
from wan22lora.musubi.safetensors import read_header
from wan22lora.rehearsal.cache_folder import cache_files
from wan22lora.rehearsal.dataset_toml import Dataset
from wan22lora.rehearsal.faults import SafetensorError, hang
from wan22lora.rehearsal.session import Session


@dataclass(frozen=True)
class Cached:
    """One training item: the cache files of its latents and of its caption."""

    latents: Path
    text: Path
    stem: str

    @property
    def name(self) -> str:
        """As a run's held-out.txt names it."""
        return f"{self.latents.parent.name}/{self.stem}"


Batch = list[Cached]
BucketKey = tuple[Any, ...]


def prepare_for_training(
    dataset: Dataset, session: Session, keeps: Callable[[Cached], bool]
) -> tuple[list[Batch], int]:
    """The batches of one epoch and the number of items with repeats, both of the items that `keeps` lets through.

    Raises ValueError for a foreign file's name.
    """
    buckets: dict[BucketKey, Batch] = {}
    for path in sorted(cache_files(dataset.source.cache, "_wan")):
        tokens = path.name.split("_")
        width, height = map(int, tokens[-2].split("x"))
        size = training_bucket((width, height), dataset.source)
        stem = "_".join(tokens[:-2] if dataset.source.kind == "images" else tokens[:-3])
        text = path.with_name(f"{stem}_wan_te.safetensors")
        if not text.exists():
            session.console.warning("dataset", f"Text encoder output cache file not found: {text}")
            continue
        key = (*size, *_rest_of_key(tokens, dataset))
        buckets.setdefault(key, []).extend([Cached(path, text, stem)] * dataset.source.repeats)
    buckets = {key: buckets[key] for key in sorted(buckets)}
    size_of_batch = dataset.source.batch_size
    for key, items in buckets.items():
        session.console.info("bucket", f"bucket: {key}, count: {len(items)}")
    session.console.info("bucket", f"total batches: {len(list(_batches(buckets, size_of_batch)))}")
    kept = {key: [item for item in items if keeps(item)] for key, items in buckets.items()}
    return list(_batches(kept, size_of_batch)), sum(map(len, kept.values()))


def load_batch(batch: Batch, needed: tuple[str, ...], workers: int) -> None:
    """Read a batch as training does. Raises what a stale or incomplete file leads to; half a file stops all for good.

    A worker process cannot send safetensors' error to the trainer (its class names a module that does not exist), so
    the trainer waits for the batch for ever, at both pins (safetensors 0.4.5). Without workers the error arrives.
    """
    try:
        _check_batch(batch, needed)
    except SafetensorError:
        if workers == 0:
            raise
        cause = "Can't pickle <class 'safetensors_rust.SafetensorError'>: import of module 'safetensors_rust' failed"
        sys.stderr.write(f"Traceback (most recent call last):\n_pickle.PicklingError: {cause}\n")
        sys.stderr.flush()
        hang()


def _check_batch(batch: Batch, needed: tuple[str, ...]) -> None:
    shapes: list[str] = []
    for item in batch:
        keys = [*_keys(item.latents), *_keys(item.text)]
        contents = {_content(key) for key in keys}
        shapes += [key.split("_")[1] for key in keys if key.startswith("latents_") and key.count("_") == 2]
        for name in needed:
            if name not in contents:
                raise KeyError(name)
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            first, other = ([16, *map(int, text.split("x"))] for text in (shapes[0], shape))
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {first} at entry 0 and {other} at entry {index}"
            )


def _rest_of_key(tokens: list[str], dataset: Dataset) -> BucketKey:
    if dataset.source.kind == "videos":
        return (int(tokens[-3].split("-")[1]),)
    window = dataset.settings["fp_latent_window_size"]
    indices = dataset.settings["fp_1f_clean_indices"]
    one_frame = () if indices is None else (len(indices), dataset.settings["fp_1f_no_post"])
    return (window, *one_frame)


def _batches(buckets: dict[BucketKey, Batch], size: int) -> Iterator[Batch]:
    for bucket in buckets.values():
        for start in range(0, len(bucket), size):
            yield bucket[start : start + size]


def _keys(path: Path) -> list[str]:
    try:
        return list(read_header(path).tensors)
    except ValueError as problem:
        raise SafetensorError("Error while deserializing header: MetadataIncompleteBuffer") from problem


def _content(key: str) -> str:
    """`latents_image_1x60x60_bfloat16` → `latents_image`, `varlen_t5_bfloat16` → `t5`."""
    name = key.removeprefix("varlen_").rsplit("_", 1)[0]
    return name.rsplit("_", 1)[0] if name.startswith("latents_") else name
