"""The order in which musubi keeps the items of a dataset, made independent of the file system."""

from __future__ import annotations

from typing import Any


def in_order(group: Any) -> None:
    """Sorts the items of every bucket by name, and the buckets by size.

    musubi finds the caches by `glob`, in whatever order the file system gives them, and shuffles from there
    (dataset/image_video_dataset.py:508-566 at v0.3.4): after a move to another disk the same seed would mean another
    order, and a training could not be continued exactly.
    """
    for dataset in group.datasets:
        manager = dataset.batch_manager
        for items in manager.buckets.values():
            items.sort(key=lambda item: (item.item_key, item.latent_cache_path))
        for size in sorted(manager.buckets, key=repr):
            manager.buckets[size] = manager.buckets.pop(size)
