"""The JSON schema and the loader accept and refuse the same values."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from wan22lora.spec.model import RunFile, schema

jsonschema = pytest.importorskip("jsonschema")

BASE: dict[str, Any] = {"name": "a", "data": {}, "models": {}, "musubi": {"train": {}}, "validation": {"hold_out": 1}}
BASE["train"] = {"preservation": {"class": "x"}, "ema": {"decay": 0.5}, "states": {}}
BASE["datasets"] = [{"images": "x"}]
VALUES: list[Any] = [None, True, 0, 1, -1, 16, 0.5, 16.0, 1e9, "", "a", "16", "5%", "yes", "auto", ".txt", "fp16"]
VALUES += [[], [1], [1, 2], [1, 2, 3], ["a"], [0.9, 0.99], {}, {"a": 1}, {"a": None}, {"a": [1]}, {"a": {}}]
SCHEMA = schema()
PLACES: dict[tuple[str | int, ...], str] = {
    ("train",): "TrainSettings",
    ("data",): "DataSettings",
    ("datasets", 0): "DatasetSettings",
    ("models",): "ModelSettings",
    ("musubi",): "MusubiOptions",
    ("validation",): "ValidationSettings",
    ("train", "preservation"): "PreservationSettings",
    ("train", "ema"): "EmaSettings",
    ("train", "states"): "StateSettings",
}
KEYS: list[tuple[str | int, ...]] = [(key,) for key in SCHEMA["properties"]]
KEYS += [(*place, key) for place, model in PLACES.items() for key in SCHEMA["$defs"][model]["properties"]]
KEYS += [("train", "preservation", "class_"), ("validation", "unknown")]
KEYS += [("musubi", "train", "some_option"), ("musubi", "train", "Some-Option"), ("train", "unknown"), ("unknown",)]


@pytest.mark.parametrize("path", KEYS, ids=lambda path: ".".join(map(str, path)))
def test_schema_and_loader_agree_on_every_key(path: tuple[str | int, ...]) -> None:
    checker = jsonschema.Draft202012Validator(SCHEMA)
    for value in VALUES:
        data: Any = copy.deepcopy(BASE)
        node = data
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value
        assert checker.is_valid(data) == accepted(data), value


def accepted(data: Any) -> bool:
    try:
        RunFile.model_validate(data)
    except ValidationError:
        return False
    return True


def test_the_class_to_preserve_is_called_class_in_the_schema() -> None:
    preservation = SCHEMA["$defs"]["PreservationSettings"]
    assert preservation["required"] == ["class"]
    assert "class_" not in preservation["properties"]
