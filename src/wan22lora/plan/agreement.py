"""What run.yaml says of the dataset against what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wan22lora.dataset.problems import listed
from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.spec.resolved import Spec


def disagreements(spec: Spec, scans: Iterable[Scan]) -> Iterator[Finding]:
    """Captions without the trigger, and clips whose frame rate `source_fps: auto` could not settle."""
    for dataset, scan in zip(spec.datasets, scans, strict=True):
        if spec.trigger is not None:
            without = [item.path.name for item in scan.items if spec.trigger not in item.caption]
            if without:
                how_many = f"{len(without)} of {len(scan.items)} captions"
                yield Finding(
                    str(scan.source.place),
                    f"{how_many} lack the trigger `{spec.trigger}`: {listed(without)}",
                    "write it into them, or remove `trigger:` from run.yaml",
                    level="warning",
                )
        rate = dataset.settings.source_fps
        if scan.source.kind == "videos" and scan.items and scan.source.source_fps is None and rate != "as-is":
            rates = sorted({item.fps for item in scan.items if item.fps is not None})
            if rates:
                shown = ", ".join(f"{each:g}" for each in rates)
                yield Finding(
                    str(scan.source.place),
                    f"the clips have different frame rates ({shown}), and musubi converts all of a dataset from one",
                    "put them into a dataset for each rate, or set data.source_fps",
                )
