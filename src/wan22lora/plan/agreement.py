"""What run.yaml says of the dataset against what is in it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence

from wan22lora.dataset.problems import counted, listed
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source
from wan22lora.errors import Finding, Named
from wan22lora.plan.class_captions import class_of
from wan22lora.plan.held_out import hold_out_findings
from wan22lora.spec.resolved import Spec


def disagreements(spec: Spec, scans: Sequence[Scan]) -> Iterator[Finding]:
    """Captions without the trigger, clips whose frame rate `source_fps: auto` could not settle, and items to hold out
    that are not there.
    """
    for dataset, scan in zip(spec.datasets, scans, strict=True):
        if spec.trigger is not None:
            yield from _without_trigger(spec, scan, spec.trigger)
        rate = dataset.settings.source_fps
        if scan.source.kind == "videos" and scan.items and scan.source.source_fps is None and rate != "as-is":
            rates = sorted({item.fps for item in scan.items if item.fps is not None})
            if rates:
                shown = ", ".join(f"{each:g}" for each in rates)
                yield Finding(
                    str(scan.source.place),
                    f"the clips have different frame rates ({shown}), and musubi converts all of a dataset from one",
                    "put them into a dataset for each rate, or set data.source_fps",
                    kind="clip-rates",
                )
    if spec.validation is not None:
        yield from hold_out_findings(spec.validation.hold_out, scans, spec.where("validation", "hold_out"))


def _without_trigger(spec: Spec, scan: Scan, trigger: str) -> Iterator[Finding]:
    """A remark, but an error where the trigger is to be replaced by the class that an expert preserves: there the LoRA
    would be held back from the very thing that it learns.
    """
    without = [item for item in scan.items if trigger not in item.caption]
    if not without:
        return
    lack = "lacks" if len(without) == 1 else "lack"
    message = f"{len(without)} of {counted(len(scan.items), 'caption')} {lack} the trigger `{trigger}`"
    message += f": {listed([item.path.name for item in without])}"
    if other := sum(trigger.lower() in item.caption.lower() for item in without):
        message += (
            f"; {other} {'has' if other == 1 else 'have'} it in other capitals, which is another word to the model"
        )
    about = tuple(Named(item.path.name, (item.path,)) for item in without)
    place = scan.source.place
    classes = list(dict.fromkeys(class_ for expert in spec.experts if (class_ := class_of(expert)) is not None))
    if classes:
        yield Finding(
            str(_caption_file(without[0], scan.source) if len(without) == 1 else place),
            f"{message}; to preserve `{'`, `'.join(classes)}` it is replaced in every caption",
            f"{_way_in(spec, scan)}, or set `preservation: null`",
            kind="trigger-missing",
            about=about,
        )
    else:
        fix = f"{_way_in(spec, scan)}, or remove `trigger:` from run.yaml"
        yield Finding(str(place), message, fix, "warning", "trigger-missing", about)


def _way_in(spec: Spec, scan: Scan) -> str:
    if scan.source.directory is None:
        return "write it into them"
    return f"wan22lora captions apply {shlex.quote(str(spec.file))} puts it in front"


def _caption_file(item: Item, source: Source) -> str:
    if source.directory is None:
        return str(source.place)
    return os.path.splitext(item.path)[0] + source.caption_extension  # noqa: PTH122 - as musubi names it
