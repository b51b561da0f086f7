"""What is in a dataset's folder or JSONL file, and how musubi-tuner stops at what it cannot use."""

from __future__ import annotations

import errno
import json
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from wan22lora.dataset.checks import has_buckets
from wan22lora.dataset.latents import stem_of
from wan22lora.dataset.listing import media_among, names_in
from wan22lora.dataset.scan import scan
from wan22lora.dataset.source import Item
from wan22lora.rehearsal.console import Console, Module
from wan22lora.rehearsal.dataset_toml import Dataset, describe, read_datasets


class UnidentifiedImageError(OSError):
    """Pillow's error, under its real name in the traceback."""

    __module__ = "PIL"


def open_datasets(args: Namespace, pin: str, console: Console, module: Module) -> tuple[Dataset, ...]:
    """Read dataset.toml and look into each dataset, with musubi-tuner's log. Raises as it does."""
    console.info(module, f"Load dataset config from {args.dataset_config}")
    datasets = read_datasets(args.dataset_config, vars(args), pin, console)
    for dataset in datasets:
        noun = "image" if dataset.source.kind == "images" else "video"
        if dataset.source.jsonl is not None:
            console.info("listing", f"load {noun} jsonl from {dataset.source.jsonl}")
            console.info("listing", f"loaded {len(_lines(dataset.source.jsonl))} {noun}s")
        else:
            console.info("listing", f"glob {noun}s in {dataset.source.directory}")
            console.info("listing", f"found {len(_listed(dataset, pin))} {noun}s")
    console.info("config", "".join(describe(dataset, pin) for dataset in datasets))
    return datasets


def read_items(dataset: Dataset, pin: str) -> tuple[Item, ...]:
    """The items in musubi-tuner's order. Raises where it does: no caption, or a file that it cannot open."""
    source = dataset.source
    if not has_buckets(source):
        raise ZeroDivisionError("integer division or modulo by zero")
    paths = _paths(source.jsonl) if source.jsonl is not None else _listed(dataset, pin)
    if paths and source.jsonl is None and dataset.captions is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    items = scan(source).items
    usable = {str(item.path) for item in items}
    for path in paths:
        if str(path) not in usable:
            if source.jsonl is None:
                _open(path.with_name(stem_of(path.name) + source.caption_extension))
            _open(path)
            raise UnidentifiedImageError(f"cannot identify image file {str(path)!r}")
    return items


def read_captions(dataset: Dataset, pin: str) -> tuple[Item, ...]:
    """The items as the encoding of captions sees them: what a JSONL file lists is not opened, and has no size."""
    if dataset.source.jsonl is None:
        return read_items(dataset, pin)
    lines = _lines(dataset.source.jsonl)
    paths = _paths(dataset.source.jsonl)
    return tuple(
        Item(path, stem_of(str(path)), line["caption"], (0, 0), None, None)
        for path, line in zip(paths, lines, strict=True)
    )


def _listed(dataset: Dataset, pin: str) -> list[Path]:
    """Pictures without a caption are left out silently at v0.3.4; at the article's revision they stop the caching."""
    folder = dataset.source.directory
    assert folder is not None
    try:
        names = names_in(folder)
    except OSError:
        return []
    media = media_among(names, dataset.source.kind)
    if dataset.source.kind == "images" and pin != "article" and dataset.captions is not None:
        captioned = {stem_of(name) for name in names if name.endswith(dataset.captions)}
        media = [name for name in media if stem_of(name) in captioned]
    return [folder / name for name in media]


def _lines(jsonl: Path) -> list[dict[str, Any]]:
    with jsonl.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _paths(jsonl: Path) -> list[Path]:
    keys = ("image_path", "image_path_0", "video_path")
    return [Path(next(line[key] for key in keys if key in line)) for line in _lines(jsonl)]


def _open(path: Path) -> None:
    path.open("rb").close()
