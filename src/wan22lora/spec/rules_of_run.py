"""What the parts of a run.yaml say against each other. DS is dataset/image_video_dataset.py at v0.3.4."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.spec.document import Document
from wan22lora.spec.resolved import Spec

GLOB_CHARACTERS = "[]*?"


def broken_by_run(spec: Spec, document: Document) -> Iterator[Finding]:
    """What the run as a whole breaks."""
    pair = len(spec.experts) > 1
    models = document.data.get("models") or {}
    for key in ("dit",) if pair else ("high", "low"):
        if key in models:
            where = f"{document.place(('models', key))} models.{key}"
            yield Finding(
                where,
                f"is not used by {spec.task.name}",
                "models.high and models.low" if pair else "models.dit",
            )
    if not pair:
        for key in ("experts", "musubi"):
            for name in document.data.get(key) or {}:
                if name in ("high", "low", "train-high", "train-low"):
                    where = f"{document.place((key, name))} {key}.{name}"
                    yield Finding(where, f"{spec.task.name} has a single expert", "write it under train")
    if pair:
        names = [expert.settings.output_name for expert in spec.experts]
        if names[0] is not None and names[0] == names[1]:
            yield Finding(spec.experts[0].where("output_name"), "is the same for both experts: one file would win", "…")
        files = [expert.settings.checkpoint for expert in spec.experts]
        if files[0] is not None and files[0] == files[1]:
            yield Finding(spec.experts[0].where("checkpoint"), "is the same file for both experts", "two files")
        if spec.models.get("high") and spec.models.get("high") == spec.models.get("low"):
            where = f"{document.place(('models', 'low'))} models.low"
            yield Finding(where, "is the same file as models.high: both LoRAs would fit one expert", "two files")
    bad = sorted(set(str(spec.folder)) & set(GLOB_CHARACTERS))
    if bad:
        yield Finding(
            f"{document.place(('folder',))} folder",
            f"{spec.folder} holds {' '.join(bad)}: musubi reads its caches with a pattern and would find none (DS:508)",
            "folder: a path without [ ] * ?",
        )
