"""Which of a run's caches one training learns from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from wan22lora.dataset.latents import latents_of, text_file
from wan22lora.dataset.scan import Scan
from wan22lora.plan.caches import CacheState
from wan22lora.plan.class_captions import class_folder


def learned_from(
    preserved: str | None, trained: Iterable[Scan], caches: Sequence[CacheState]
) -> tuple[CacheState, ...]:
    """The caches without what is held out, and without the captions of classes other than the preserved one.

    `trained` are the datasets without the items that are held out.
    """
    files = frozenset(_files(trained, preserved))
    return tuple(
        replace(state, expected={path: key for path, key in state.expected.items() if str(path) in files})
        for state in caches
    )


def _files(trained: Iterable[Scan], class_: str | None) -> Iterator[str]:
    """Their paths as texts, which are made much more quickly than a Path for each."""
    for scan in trained:
        cache = scan.source.cache
        captions = [cache] if class_ is None else [cache, cache / class_folder(class_)]
        for item in scan.items:
            yield from (f"{cache}{os.sep}{latents.file}" for latents in latents_of(item, scan.source))
            yield from (f"{folder}{os.sep}{text_file(item)}" for folder in captions)
