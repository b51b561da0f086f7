"""dataset.toml as musubi-tuner reads it (dataset/config_utils.py:170-413 at v0.3.4): strictly, then with defaults.

A value comes from the dataset, else from [general], else from an option of the same name (`--batch_size` of the
cache programs), else from the default, which is 960x544 without buckets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan22lora.dataset.source import Source
from wan22lora.rehearsal.console import Console
from wan22lora.rehearsal.schema import check, rename_old_keys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SHARED: dict[str, Any] = {
    "resolution": (960, 544),
    "batch_size": 1,
    "num_repeats": 1,
    "caption_extension": None,
    "enable_bucket": False,
    "bucket_no_upscale": False,
    "cache_directory": None,
    "debug_dataset": False,
}
_IMAGES: dict[str, Any] = {
    "image_directory": None,
    "image_jsonl_file": None,
    "control_directory": None,
    "multiple_target": False,
    "fp_latent_window_size": 9,
    "fp_1f_clean_indices": None,
    "fp_1f_target_index": None,
    "fp_1f_no_post": False,
    "no_resize_control": False,
    "control_resolution": None,
}
_VIDEOS: dict[str, Any] = {
    "video_directory": None,
    "video_jsonl_file": None,
    "control_directory": None,
    "target_frames": (1,),
    "frame_extraction": "head",
    "frame_stride": 1,
    "frame_sample": 1,
    "max_frames": 129,
    "source_fps": None,
    "fp_latent_window_size": 9,
}
_ARTICLE_NAMES = {
    "control_directory": "",
    "multiple_target": "",
    "no_resize_control": "flux_kontext_no_resize_control",
    "control_resolution": "",
}
"""What the article's revision calls or leaves out in its log."""


@dataclass(frozen=True)
class Dataset:
    """One [[datasets]] table with every value filled in."""

    source: Source
    settings: Mapping[str, Any]
    """All parameters by musubi's names, as it prints them."""

    @property
    def captions(self) -> str | None:
        """The caption extension; None where dataset.toml gives none, which only fails once a caption is read."""
        extension: str | None = self.settings["caption_extension"]
        return extension


def read_datasets(path: str, options: Mapping[str, Any], pin: str, console: Console) -> tuple[Dataset, ...]:
    """Raises what musubi-tuner raises for a file that it refuses."""
    config = _load(Path(path))
    rename_old_keys(config, pin, console)
    check(config, pin, console)
    fallbacks = (config.get("general", {}), options)
    tables = config.get("datasets", [])
    datasets = tuple(_dataset(index, (table, *fallbacks), console) for index, table in enumerate(tables))
    caches = [dataset.settings["cache_directory"] for dataset in datasets]
    if len(set(caches)) != len(caches):
        raise ValueError(
            "cache directory should be unique for each dataset (note that cache directory is image/video directory"
            " if not specified) / cache directory は各データセットごとに異なる必要があります"
        )
    return datasets


def describe(dataset: Dataset, pin: str) -> str:
    """The paragraph that musubi-tuner logs about a dataset (config_utils.py:296-349)."""
    images = dataset.source.kind == "images"
    lines = [f"[Dataset {dataset.source.index}]", f"  is_image_dataset: {images}"]
    for name, value in dataset.settings.items():
        shown = _ARTICLE_NAMES.get(name, name) if images and pin == "article" else name
        if shown:
            quoted = name.endswith(("_extension", "_directory", "_file"))
            indent = "  " if name in _SHARED else "    "
            lines.append(f'{indent}{shown}: "{value}"' if quoted else f"{indent}{shown}: {value}")
    return "\n".join([*lines, "", ""])


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"file not found / ファイルが見つかりません: {path}")
    if path.suffix.lower() not in (".toml", ".json"):
        raise ValueError(f"not supported config file format / 対応していない設定ファイルの形式です: {path}")
    text = path.read_text(encoding="utf-8")
    config: dict[str, Any] = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    return config


def _dataset(index: int, places: Sequence[Mapping[str, Any]], console: Console) -> Dataset:
    table = places[0]
    images = "image_directory" in table or "image_jsonl_file" in table
    kind = "image" if images else "video"
    defaults = _SHARED | (_IMAGES if images else _VIDEOS)
    settings = {name: _first(name, places, default) for name, default in defaults.items()}
    directory, jsonl = settings[f"{kind}_directory"], settings[f"{kind}_jsonl_file"]
    if directory is None and jsonl is None:
        raise AttributeError("'VideoDataset' object has no attribute 'datasource'")
    if settings["cache_directory"] is None:
        settings["cache_directory"] = directory
    assert settings["cache_directory"] is not None, "cache_directory is required / cache_directoryは必須です"
    settings["bucket_no_upscale"] = settings["bucket_no_upscale"] and settings["enable_bucket"]
    for name in {"resolution", "control_resolution"} & settings.keys():
        value = settings[name]
        settings[name] = (value, value) if isinstance(value, int) else value and tuple(value)
    if not images:
        _round_frames(settings, console)
    return Dataset(_source(index, kind, settings), settings)


def _first(name: str, places: Sequence[Mapping[str, Any]], default: Any) -> Any:
    return next((place[name] for place in places if place.get(name) is not None), default)


def _round_frames(settings: dict[str, Any], console: Console) -> None:
    wanted = sorted(set(settings["target_frames"]))
    rounded = sorted({(count - 1) // 4 * 4 + 1 for count in wanted})
    if rounded != wanted:
        console.warning("dataset", f"target_frames are rounded to {rounded}")
    settings["target_frames"] = tuple(rounded)
    if settings["frame_extraction"] == "uniform" and settings["frame_sample"] == 1:
        settings["frame_extraction"] = "head"
        console.warning(
            "dataset",
            "frame_sample is set to 1 for frame_extraction=uniform. frame_extraction is changed to head.",
        )


def _source(index: int, kind: str, settings: Mapping[str, Any]) -> Source:
    directory, jsonl = settings[f"{kind}_directory"], settings[f"{kind}_jsonl_file"]
    control = settings["control_directory"]
    clips: dict[str, Any] = {}
    if kind == "video":
        clips = {name: settings[name] for name in ("frame_extraction", "frame_stride", "frame_sample", "max_frames")}
        clips |= {"frames": settings["target_frames"], "source_fps": settings["source_fps"]}
    return Source(
        index=index,
        kind="images" if kind == "image" else "videos",
        directory=None if directory is None else Path(directory),
        jsonl=None if directory is not None or jsonl is None else Path(jsonl),
        cache=Path(settings["cache_directory"]),
        resolution=settings["resolution"],
        batch_size=settings["batch_size"],
        repeats=settings["num_repeats"],
        caption_extension=settings["caption_extension"] or "",
        bucket=settings["enable_bucket"],
        bucket_no_upscale=settings["bucket_no_upscale"],
        control=None if control is None else Path(control),
        **clips,
    )
