"""All remarks about the datasets of a run: reads the files, then asks every rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wan22lora.check.captions import caption_remarks, trigger_remarks
from wan22lora.check.clips import clip_remarks
from wan22lora.check.counts import balance_remarks, batch_remarks, count_remarks
from wan22lora.check.facts import Looked, look_at
from wan22lora.check.folders import folder_remarks, list_folder
from wan22lora.check.pictures import duplicate_remarks, fit_remarks, picture_remarks
from wan22lora.check.remark import Remark, from_finding, worst_first
from wan22lora.check.wording import wording_remarks
from wan22lora.dataset.listing import media_among, names_in
from wan22lora.dataset.memory import Memory
from wan22lora.dataset.scan import Scan, clip_fps
from wan22lora.dataset.source import Kind, Source
from wan22lora.errors import DatasetError, Finding

FOLDER_RESOLUTION = (960, 960)
"""Of pictures in a folder without a run.yaml: the articles'."""
FOLDER_CLIPS, FOLDER_FRAMES = (480, 272), 61
"""Of clips: those of the preset `motion`."""


def examine(
    scans: Sequence[Scan],
    findings: Iterable[Finding],
    *,
    trained: Sequence[Scan] | None = None,
    trigger: str | None = None,
    trigger_at: str = "",
    style: bool = False,
    memory: Memory | None = None,
    thorough: bool = False,
) -> tuple[Remark, ...]:
    """Everything there is to say, worst first.

    `findings` are what `train` says of the datasets, `trained` the datasets without what is held out; with `style`
    the LoRA learns a style, not what is shown; `memory` and `thorough` as in look_at.
    """
    everything = [replace(scan, items=(*scan.items, *scan.uncaptioned)) for scan in scans]
    looked = look_at(everything, memory, thorough=thorough)
    by_rules = _remarks(scans, looked, scans if trained is None else trained, trigger, trigger_at, style)
    return worst_first([*map(from_finding, findings), *by_rules])


def _remarks(
    scans: Sequence[Scan],
    looked: Sequence[Looked],
    trained: Sequence[Scan],
    trigger: str | None,
    trigger_at: str,
    style: bool,
) -> Iterator[Remark]:
    for scan, each in zip(scans, looked, strict=True):
        source = scan.source
        yield from folder_remarks(source, list_folder(source))
        if source.kind == "images":
            yield from picture_remarks(each)
        else:
            yield from fit_remarks(source, each.scan.items)
            yield from clip_remarks(each)
        yield from caption_remarks(scan, trigger)
        yield from wording_remarks(scan, trigger, style=style)
    for scan in trained:
        yield from batch_remarks(scan)
    yield from duplicate_remarks(looked)
    yield from trigger_remarks(trigger_at, trigger)
    yield from balance_remarks(trained)
    yield from count_remarks(trained)


def sources_in(folder: Path, memory: Memory | None = None) -> tuple[Source, ...]:
    """A folder without a run.yaml, as a dataset with the presets' usual settings; two where it holds both kinds.

    Raises DatasetError for a folder that cannot be read.
    """
    try:
        names = names_in(folder)
    except OSError as problem:
        message = f"the folder cannot be read ({problem.strerror})"
        raise DatasetError(f"{folder} cannot be checked", findings=[Finding(str(folder), message)]) from problem
    kinds: list[Kind] = [kind for kind in ("images", "videos") if media_among(names, kind)]
    return tuple(_source(folder, kind, memory) for kind in kinds or ["images"])


def _source(folder: Path, kind: Kind, memory: Memory | None) -> Source:
    source = Source(
        index=0,
        kind=kind,
        directory=folder,
        jsonl=None,
        cache=folder.parent / "cache" / kind,
        resolution=FOLDER_RESOLUTION if kind == "images" else FOLDER_CLIPS,
        frames=(1,) if kind == "images" else (FOLDER_FRAMES,),
    )
    return source if kind == "images" else _with_rate(source, memory)


def _with_rate(source: Source, memory: Memory | None) -> Source:
    return replace(source, source_fps=clip_fps(source, memory))
