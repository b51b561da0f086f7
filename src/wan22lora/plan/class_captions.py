"""The captions of a preservation class: every caption with the trigger replaced by what the trigger stands for.

Differential output preservation, as ai-toolkit defines it, compares the model on these captions with and without the
LoRA, so the plain replacement of text is the method and not a shortcut. musubi encodes them beside the captions, from
a JSONL file, whose caching of captions opens no picture (dataset/image_video_dataset.py:212-265 at v0.3.4).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from wan22lora.dataset.scan import Scan
from wan22lora.plan.model import PlannedFile
from wan22lora.spec.resolved import Expert, Spec

FOLDER_PREFIX = "class-"


def class_folder(class_: str) -> str:
    """The folder of a class's caption caches in each dataset's cache folder, where musubi's training never looks."""
    return f"{FOLDER_PREFIX}{hashlib.sha256(class_.encode()).hexdigest()[:8]}"


def class_of(expert: Expert) -> str | None:
    """The class that an expert preserves."""
    preservation = expert.settings.preservation
    return None if preservation is None else preservation.class_


def class_captions(spec: Spec, scans: Iterable[Scan]) -> tuple[Scan, ...]:
    """For each dataset and class that an expert preserves: the dataset with the captions replaced, as one of its own.

    None without a trigger to replace. Each reads the file that `captions_file` gives.
    """
    classes = dict.fromkeys(class_ for expert in spec.experts if (class_ := class_of(expert)) is not None)
    return tuple(
        _of_one(scan, class_, spec.trigger, spec.folder)
        for scan in scans
        for class_ in classes
        if spec.trigger is not None and scan.items
    )


def captions_file(scan: Scan) -> PlannedFile:
    """The JSONL file of class captions. ASCII alone, because a file's name may hold bytes that are no text."""
    key = "image_path" if scan.source.kind == "images" else "video_path"
    lines = (json.dumps({key: str(item.path), "caption": item.caption}) for item in scan.items)
    return PlannedFile(scan.source.place, "".join(f"{line}\n" for line in lines))


def _of_one(scan: Scan, class_: str, trigger: str, folder: Path) -> Scan:
    name = class_folder(class_)
    source = replace(
        scan.source,
        directory=None,
        jsonl=folder / f"{name}-{scan.source.index}.jsonl",
        cache=scan.source.cache / name,
        control=None,
    )
    items = tuple(replace(item, caption=item.caption.replace(trigger, class_).strip()) for item in scan.items)
    return Scan(source, items, ())
