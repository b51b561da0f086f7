"""What would go wrong with a dataset although every file of it can be read."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence

from wan22lora.dataset.buckets import MIN_AREA, STEP, Size, bucket_for, training_bucket
from wan22lora.dataset.clips import SAME_RATE
from wan22lora.dataset.frames import TARGET_FPS
from wan22lora.dataset.latents import latents_of, text_file
from wan22lora.dataset.problems import Problems, counted, listed
from wan22lora.dataset.source import Item, Source
from wan22lora.errors import Finding, Named
from wan22lora.kinds import FindingKind

LONGEST_NAME = 255
"""Bytes of a file's name, on Linux's and macOS's file systems and, in other units, on Windows."""


def has_buckets(source: Source) -> bool:
    """False where musubi-tuner cannot even list the buckets of this resolution."""
    needs_them = source.bucket or source.kind == "videos"
    return not needs_them or source.resolution[0] * source.resolution[1] >= MIN_AREA


def check_settings(source: Source) -> list[Finding]:
    """Settings with which musubi-tuner fails or finds nothing, whatever the files are."""
    return [*_check_cache(source), *_check_resolution(source)]


def check_items(source: Source, items: Sequence[Item]) -> list[Finding]:
    """Items that would overwrite one another, vanish, or be seen otherwise than meant."""
    findings = [*_check_stems(source, items), *_check_buckets(source, items)]
    if source.kind == "videos":
        findings += [
            *_check_lengths(source, items),
            *_check_rates(source, items),
            *_check_shapes(source, items),
        ]
    return findings


def _check_cache(source: Source) -> list[Finding]:
    cache = str(source.cache)
    findings = []
    # The trainer globs the unescaped path (image_video_dataset.py:508, 861).
    special = [character for character in "[]*?" if character in cache]
    if special:
        message = f"the trainer would find no cache file in a folder with {' '.join(special)} in its path"
        fix = "Choose or rename the folder so that its path has none of [ ] * ?"
        findings.append(Finding(cache, message, fix, kind="cache-glob"))
    if source.directory is not None and os.path.realpath(cache) == os.path.realpath(source.directory):
        message = (
            f"the cache folder is the {source.noun}s' own folder, where caching deletes every"
            " *_wan.safetensors and *_wan_te.safetensors that it did not make, LoRAs too"
        )
        findings.append(Finding(cache, message, "Give the cache a folder of its own.", kind="cache-in-dataset"))
    return findings


def _check_resolution(source: Source) -> list[Finding]:
    width, height = source.resolution
    where = str(source.place)
    if not has_buckets(source):
        message = f"at {width}x{height} musubi-tuner divides by zero while it lists its buckets"
        fix = "Use at least 32x32 pixels; Wan is made for 480p to 720p."
        return [Finding(where, message, fix, kind="resolution-small")]
    if not source.bucket and source.kind == "images" and (width % STEP or height % STEP):
        message = f"without buckets every picture becomes {width}x{height}, which Wan cannot divide into patches"
        fix = f"Use multiples of {STEP} pixels, or turn buckets on."
        return [Finding(where, message, fix, kind="resolution-patches")]
    return []


def _check_stems(source: Source, items: Sequence[Item]) -> list[Finding]:
    same: dict[str, list[Item]] = defaultdict(list)
    dotted = Problems(source.place, source.noun)
    for item in items:
        if any(len(os.fsencode(file)) > LONGEST_NAME for file in _cache_files(item, source)):
            what = f"with a name too long for its cache files, which may have {LONGEST_NAME} bytes"
            dotted.add("name-long", what, item.path.name, item.path, fix="Shorten them.")
        same[item.stem].append(item)
        if item.stem.startswith("."):
            what = "with a name that starts with a dot, whose cache files the trainer does not see"
            dotted.add("name-hidden", what, item.path.name, item.path, fix="Rename them.")
    shared = Problems(source.place, "name")
    for together in same.values():
        if len(together) > 1:
            what = f"borne by more than one {source.noun}, whose cache files overwrite one another"
            fix = "Give each its own name, also apart from folder and extension."
            paths = [item.path for item in together]
            names = [path.name if source.directory else str(path) for path in paths]
            shared.add("name-shared", what, " = ".join(names), *paths, fix=fix)
    return dotted.findings() + shared.findings()


def _cache_files(item: Item, source: Source) -> list[str]:
    return [text_file(item), *(latents.file for latents in latents_of(item, source))]


def _check_buckets(source: Source, items: Sequence[Item]) -> list[Finding]:
    problems = Problems(source.place, source.noun)
    for item in items:
        if min(bucket_for(item.size, source)) < STEP:
            what = f"under the {STEP} pixels of the smallest bucket, at which musubi-tuner stops while caching"
            fix = "Remove them, or turn `bucket_no_upscale` off."
            name = f"{item.path.name} ({item.size[0]}x{item.size[1]})"
            problems.add("bucket-small", what, name, item.path, fix=fix)
    return problems.findings()


def _check_lengths(source: Source, items: Sequence[Item]) -> list[Finding]:
    lost = [item for item in items if not latents_of(item, source)]
    if not lost:
        return []
    lengths = [item.frames or 0 for item in lost]
    rate = f" at {TARGET_FPS:g} frames per second" if source.source_fps else ""
    what = f"shorter{rate} than the smallest target of {min(source.frames)} frames, left out without a word"
    fits = f"{_target_within(min(lengths))} target frames fit all of them, {_target_within(max(lengths))} the longest"
    fix = f"{fits}; frame extraction `full` takes any length."
    about = tuple(
        Named(f"{item.path.name} ({counted(length, 'frame')})", (item.path,))
        for item, length in zip(lost, lengths, strict=True)
    )
    message = f"{counted(len(lost), 'clip')} {what}: {listed([each.text for each in about])}"
    findings = [Finding(str(source.place), message, fix, "warning", "clip-short", about)]
    if len(lost) == len(items):
        message = "no clip of this dataset is long enough to train on; musubi-tuner would cache nothing"
        findings.append(Finding(str(source.place), message, fix, kind="clips-too-short"))
    return findings


def _target_within(frames: int) -> int:
    return (max(frames, 1) - 1) // 4 * 4 + 1


def _check_rates(source: Source, items: Sequence[Item]) -> list[Finding]:
    problems = Problems(source.place, source.noun)
    assumed = source.source_fps or TARGET_FPS
    for item in items:
        if item.fps is None or abs(item.fps - assumed) <= SAME_RATE * assumed:
            continue
        kind: FindingKind = "clip-rate" if source.source_fps is None else "clip-rate-other"
        if source.source_fps is None:
            what = f"not at {TARGET_FPS:g} frames per second, used frame by frame because source_fps is not set"
            fix = "Set source_fps to the clips' own rate; otherwise Wan learns slowed or hurried motion."
        else:
            what = f"with another frame rate than the source_fps of {source.source_fps:g}"
            fix = "Put clips of different frame rates into datasets of their own, or convert them."
        problems.add(kind, what, f"{item.path.name} ({item.fps:.4g} fps)", item.path, fix=fix, level="warning")
    findings = problems.findings()
    if items and assumed < TARGET_FPS * (1 - SAME_RATE):
        message = (
            f"source_fps is {assumed:g} and musubi-tuner adds no frames: the clips train as if they ran at"
            f" {TARGET_FPS:g}, and extraction `head` finds fewer frames than it asks for"
        )
        fix = f"Convert the clips to {TARGET_FPS:g} frames per second."
        findings.append(Finding(str(source.place), message, fix, "warning", "clip-slow"))
    return findings


def _check_shapes(source: Source, items: Sequence[Item]) -> list[Finding]:
    """Clips are cached in buckets even where training uses one (image_video_dataset.py:698, 858)."""
    shapes: dict[tuple[Size, int], set[tuple[int, ...]]] = defaultdict(set)
    for item in items:
        for latents in latents_of(item, source):
            width, height, frames = latents.bucket
            shapes[training_bucket((width, height), source), frames].add(latents.bucket)
    if source.batch_size == 1 or all(len(found) == 1 for found in shapes.values()):
        return []
    message = (
        "without buckets, clips of different shapes come into one batch, and the training stops with"
        " `stack expects each tensor to be equal size`; caching sorts clips into buckets all the same"
    )
    fix = "Turn buckets on, or set the batch size to 1."
    return [Finding(str(source.place), message, fix, kind="clip-shapes")]
