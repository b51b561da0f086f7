"""Rules about how many pictures and clips there are, and how datasets and batches come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wan22lora.check.remark import Remark
from wan22lora.dataset.problems import counted
from wan22lora.dataset.scan import Scan
from wan22lora.errors import Named

PICTURES, CLIPS = (10, 30), (12, 20)
UNEVEN = 4.0
"""How much more of an epoch one dataset may have than another without a word."""


def count_remarks(scans: Sequence[Scan]) -> Iterator[Remark]:
    """Advice, with its source. For the datasets of one run together."""
    for kind, (fewest, most) in (("images", PICTURES), ("videos", CLIPS)):
        of_kind = [scan for scan in scans if scan.source.kind == kind]
        count = sum(len(scan.items) for scan in of_kind)
        if not count or fewest <= count <= most:
            continue
        advice = (
            "the WAN 2.1 article trains on 18 pictures, always; the person article on 10 to 30"
            if kind == "images"
            else "the person article trains on 12 to 20 clips"
        )
        few = count < fewest
        noun = of_kind[0].source.noun
        fix = (
            "Add some that differ." if few else "Keep the best, or train fewer epochs; the presets' lengths are for 18."
        )
        if kind == "videos" and not few:
            fix = "Keep the best."
        yield Remark("count", "note", str(of_kind[0].source.place), counted(count, noun), advice, fix)


def balance_remarks(scans: Sequence[Scan]) -> Iterator[Remark]:
    """How the datasets share an epoch, when there are several."""
    loads = [(scan, sum(load.count for load in scan.loads)) for scan in scans]
    counts = [(scan, count) for scan, count in loads if count]
    total = sum(count for _, count in counts)
    if len(counts) < 2:
        return
    shares = tuple(Named(f"{scan.source.place} ({count}, {count / total:.0%})") for scan, count in counts)
    small, least = min(counts, key=lambda each: each[1])
    large, greatest = max(counts, key=lambda each: each[1])
    if least == greatest:
        return
    uneven = greatest > UNEVEN * least
    repeats = max(1, round(small.source.repeats * greatest / least))
    yield Remark(
        "balance",
        "warning" if uneven else "note",
        str(small.source.place),
        f"the datasets share an epoch {' : '.join(f'{count / total:.0%}' for _, count in counts)}, repeats counted",
        f"what is seen more often is learned more; {large.source.place.name} has {greatest / least:.1f} times the share"
        f" of {small.source.place.name}",
        f"`repeats: {repeats}` for this dataset evens them out." if repeats != small.source.repeats else "",
        shares,
    )


def batch_remarks(scan: Scan) -> Iterator[Remark]:
    """Buckets whose last batch is a smaller one."""
    size = scan.source.batch_size
    partial = tuple(
        Named(f"{'×'.join(map(str, load.bucket[:2]))} (last of {load.count % size})")
        for load in scan.loads
        if load.count % size
    )
    if partial:
        yield Remark(
            "partial-batch",
            "note",
            str(scan.source.place),
            f"{counted(len(partial), 'bucket')} with a last batch under {size}",
            "a smaller batch counts as a whole step, so its pictures weigh more and the epoch has more steps",
            "Nothing need be done; fewer shapes, or batch_size 1, avoid it.",
            partial,
        )
