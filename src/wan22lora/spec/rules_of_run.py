"""What the parts of a run.yaml say against each other. DS is dataset/image_video_dataset.py at v0.3.4."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.spec.document import Document
from wan22lora.spec.resolved import Expert, Spec
from wan22lora.spec.rules_of_dataset import CLIP_KEYS

GLOB_CHARACTERS = "[]*?"


def broken_by_run(spec: Spec, document: Document) -> Iterator[Finding]:
    """What the run as a whole breaks."""
    pair = len(spec.experts) > 1
    yield from _unused_models(spec, document, ("dit",) if pair else ("high", "low"))
    if pair:
        yield from _one_file_for_both(spec, document)
    else:
        yield from _keys_of_a_pair(spec, document)
    yield from _settings_of_clips(spec, document)
    bad = sorted(set(str(spec.folder)) & set(GLOB_CHARACTERS))
    if bad:
        yield Finding(
            f"{document.place(('folder',))} folder",
            # its datasets are read so: DS:508
            f"{spec.folder} holds {' '.join(bad)}: musubi reads its caches with a pattern and would find none",
            "folder: a path without [ ] * ?",
        )


def _unused_models(spec: Spec, document: Document, unused: tuple[str, ...]) -> Iterator[Finding]:
    for key in unused:
        if key in (document.data.get("models") or {}):
            where = f"{document.place(('models', key))} models.{key}"
            fix = "models.high and models.low" if key == "dit" else "models.dit"
            yield Finding(where, f"is not used by {spec.task.name}", fix)


def _keys_of_a_pair(spec: Spec, document: Document) -> Iterator[Finding]:
    for key in ("experts", "musubi"):
        for name in document.data.get(key) or {}:
            if name in ("high", "low", "train-high", "train-low"):
                where = f"{document.place((key, name))} {key}.{name}"
                yield Finding(where, f"{spec.task.name} has a single expert", "write it under train")


def _one_file_for_both(spec: Spec, document: Document) -> Iterator[Finding]:
    names = [spec.output_name(expert) for expert in spec.experts]
    if names[0] == names[1]:
        at = next(each for each in spec.experts if each.settings.output_name is not None)
        fix = "experts: {high: {output_name: …}, low: {output_name: …}}"
        yield Finding(at.where("output_name"), "is the same for both experts: one file would win", fix)
    files = [_weights(spec, expert) for expert in spec.experts]
    if files[0] is not None and files[0] == files[1]:
        own = next((each for each in spec.experts if each.settings.checkpoint), None)
        if own is not None:
            text = "is the same file for both experts: both LoRAs would fit one expert"
            yield Finding(own.where("checkpoint"), text, "two files")
        else:
            where = f"{document.place(('models', 'low'))} models.low"
            yield Finding(where, "is the same file as models.high: both LoRAs would fit one expert", "two files")


def _weights(spec: Spec, expert: Expert) -> str | None:
    path = expert.settings.checkpoint or spec.models.get(expert.name)
    return None if path is None else str(path)


def _settings_of_clips(spec: Spec, document: Document) -> Iterator[Finding]:
    if any(dataset.kind == "videos" for dataset in spec.datasets):
        return
    for key, value in (document.data.get("data") or {}).items():
        if key in CLIP_KEYS and value is not None:
            yield Finding(f"{document.place(('data', key))} data.{key}", "is for clips; this run has none", "remove it")
