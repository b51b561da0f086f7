"""Which keys and types musubi-tuner accepts in dataset.toml, and how it refuses others.

Source: ConfigSanitizer and the parameter classes in dataset/config_utils.py:36-246 at v0.3.4 and at d0a1930. A key that
is not listed is refused, and so is a value of another type: `source_fps = 16` is not a float.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from wan22lora.rehearsal.console import Console

Rule: TypeAlias = "type | str"
"""A type, or `int or pair`, or `list of int`."""


class MultipleInvalid(Exception):
    """voluptuous' refusal, under its real name in the traceback."""

    __module__ = "voluptuous.error"


_PAIR = "int or pair"
_LIST = "list of int"
_SHARED: dict[str, Rule] = {
    "caption_extension": str,
    "batch_size": int,
    "num_repeats": int,
    "resolution": _PAIR,
    "enable_bucket": bool,
    "bucket_no_upscale": bool,
}
_IMAGES: dict[str, Rule] = {
    "image_directory": str,
    "image_jsonl_file": str,
    "cache_directory": str,
    "control_directory": str,
    "fp_latent_window_size": int,
    "fp_1f_clean_indices": _LIST,
    "fp_1f_target_index": int,
    "fp_1f_no_post": bool,
}
_IMAGES_BY_PIN: dict[str, dict[str, Rule]] = {
    "v0.3.4": {"multiple_target": bool, "no_resize_control": bool, "control_resolution": _PAIR},
    "article": {"flux_kontext_no_resize_control": bool},
}
_VIDEOS: dict[str, Rule] = {
    "video_directory": str,
    "video_jsonl_file": str,
    "control_directory": str,
    "target_frames": _LIST,
    "frame_extraction": str,
    "frame_stride": int,
    "frame_sample": int,
    "max_frames": int,
    "cache_directory": str,
    "source_fps": float,
    "fp_latent_window_size": int,
}
_RENAMED = {
    "flux_kontext_no_resize_control": "no_resize_control",
    "qwen_image_edit_no_resize_control": "no_resize_control",
    "qwen_image_edit_control_resolution": "control_resolution",
}


def check(config: Mapping[str, Any], pin: str, console: Console) -> None:
    """Raises MultipleInvalid for the first key or value that musubi-tuner would refuse."""
    try:
        _check_config(config, pin)
    except MultipleInvalid:
        console.error("config", "Invalid user config / ユーザ設定の形式が正しくないようです")
        raise


def rename_old_keys(config: Mapping[str, Any], pin: str, console: Console) -> None:
    """Old names of three keys are accepted with a warning at v0.3.4; changes `config`."""
    if pin == "article":
        return
    sections = [("general", config.get("general"))]
    datasets = config.get("datasets", [])
    if isinstance(datasets, list):
        sections += [(f"datasets[{index}]", dataset) for index, dataset in enumerate(datasets)]
    for name, section in sections:
        for old, new in _RENAMED.items():
            if not isinstance(section, dict) or old not in section:
                continue
            value = section.pop(old)
            if new in section:
                reason = f"is ignored because '{new}' is already set in {name}."
            else:
                section[new] = value
                reason = f"found in {name}; use '{new}' instead."
            console.warning("config", f"Deprecated config key '{old}' {reason}")


def _check_config(config: Mapping[str, Any], pin: str) -> None:
    for key, value in config.items():
        if key == "general":
            _check_table(value, _SHARED, "data['general']")
        elif key == "datasets":
            if not isinstance(value, list):
                raise MultipleInvalid("expected a list for dictionary value @ data['datasets']")
            for index, dataset in enumerate(value):
                _check_table(dataset, _rules_for(dataset, pin), f"data['datasets'][{index}]")
        else:
            raise MultipleInvalid(f"extra keys not allowed @ data[{key!r}]")


def _rules_for(dataset: Mapping[str, Any], pin: str) -> dict[str, Rule]:
    if "video_directory" in dataset or "video_jsonl_file" in dataset:
        return _SHARED | _VIDEOS
    return _SHARED | _IMAGES | _IMAGES_BY_PIN[pin]


def _check_table(table: Any, rules: Mapping[str, Rule], place: str) -> None:
    if not isinstance(table, dict):
        raise MultipleInvalid(f"expected a dictionary for dictionary value @ {place}")
    for key, value in table.items():
        if key not in rules:
            raise MultipleInvalid(f"extra keys not allowed @ {place}[{key!r}]")
        _check_value(value, rules[key], f"{place}[{key!r}]")


def _check_value(value: Any, rule: Rule, place: str) -> None:
    if isinstance(rule, type):
        if not isinstance(value, rule):
            raise MultipleInvalid(f"expected {rule.__name__} for dictionary value @ {place}")
        return
    if rule == _PAIR:
        pair = isinstance(value, list) and len(value) == 2 and all(isinstance(part, int) for part in value)
        if not isinstance(value, int) and not pair:
            raise MultipleInvalid(f"expected int for dictionary value @ {place}")
        return
    if not isinstance(value, list):
        raise MultipleInvalid(f"expected a list for dictionary value @ {place}")
    for index, element in enumerate(value):
        if not isinstance(element, int):
            raise MultipleInvalid(f"expected int @ {place}[{index}]")
