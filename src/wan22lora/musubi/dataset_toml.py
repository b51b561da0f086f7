"""dataset.toml, the file through which musubi is told of pictures and clips (dataset/config_utils.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wan22lora.dataset.source import Source

HEADER = "# Written by wan22lora from run.yaml; changes here are overwritten.\n"


def dataset_toml(sources: Iterable[Source]) -> str:
    """The file's text. Every key is written out, so that musubi's defaults (960×544, no buckets) never apply."""
    import tomli_w

    return HEADER + tomli_w.dumps({"datasets": [_table(source) for source in sources]})


def _table(source: Source) -> dict[str, Any]:
    kind = "image" if source.kind == "images" else "video"
    table: dict[str, Any] = {}
    if source.directory is not None:
        table[f"{kind}_directory"] = str(source.directory)
    if source.jsonl is not None:
        table[f"{kind}_jsonl_file"] = str(source.jsonl)
    table |= {
        "cache_directory": str(source.cache),
        "resolution": list(source.resolution),
        "caption_extension": source.caption_extension,
        "batch_size": source.batch_size,
        "num_repeats": source.repeats,
        "enable_bucket": source.bucket,
        "bucket_no_upscale": source.bucket_no_upscale,
    }
    if source.kind == "videos":
        table["target_frames"] = list(source.frames)
        table["frame_extraction"] = source.frame_extraction
        modes = {"slide": ("frame_stride",), "uniform": ("frame_sample",), "full": ("max_frames",)}
        for key in modes.get(source.frame_extraction, ()):
            table[key] = getattr(source, key)
        if source.source_fps is not None:
            table["source_fps"] = float(source.source_fps)
    return table
