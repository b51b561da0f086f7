"""The captions of a preserved class, encoded by the real musubi-tuner beside the captions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.musubi.safetensors import read_header
from wan22lora.plan.class_captions import class_folder

from .command_line import CommandLine, write_clip, write_pictures
from .environment import SmallModels

RUN = """
name: paper
preset: article-wan22
datasets: [{{images: pictures}}, {{videos: clips, frames: 9}}]
trigger: paperworld
data: {{resolution: 64}}
models: {{high: {m.t2v_high}, low: {m.t2v_low}, vae: {m.vae}, t5: {m.t5}}}
train: {{preservation: {{class: origami}}}}
"""
CLASS = class_folder("origami")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_models: SmallModels) -> Path:
    """Three pictures, one under a name that is no ASCII, and a clip."""
    place = tmp_path_factory.mktemp("classes")
    write_pictures(place / "pictures", [(64, 64)] * 2)
    Image.new("RGB", (64, 64)).save(place / "pictures" / "紙 2.png")
    (place / "pictures" / "紙 2.txt").write_text("a paperworld of 紙, “folded”\n", encoding="utf-8")
    (place / "clips").mkdir()
    write_clip(place / "clips" / "a.mp4", frames=12, rate=16)
    (place / "clips" / "a.txt").write_text("paperworld moves", encoding="utf-8")
    (place / "run.yaml").write_text(RUN.format(m=small_models), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def wan22lora(place: Path, command_line: Callable[..., CommandLine]) -> CommandLine:
    return command_line(place)


def caches(place: Path) -> dict[str, tuple[int, int]]:
    cache = place / "runs" / "paper" / "cache"
    files = {str(path.relative_to(cache)): path.stat() for path in cache.rglob("*.safetensors")}
    return {name: (stat.st_mtime_ns, stat.st_ino) for name, stat in files.items()}


def test_class_captions_are_encoded_beside_the_captions_in_one_process(place: Path, wan22lora: CommandLine) -> None:
    cached = wan22lora("cache", "run.yaml")
    assert cached.exit_code == 0, cached.output
    events = (place / "runs" / "paper" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    started = [event["id"] for event in map(json.loads, events) if event["event"] == "step-started"]
    assert started == ["cache-latents", "cache-text"]
    cache = place / "runs" / "paper" / "cache"
    captions = {
        str(path.relative_to(cache)): read_header(path).metadata["caption1"]
        for path in cache.rglob("*_wan_te.safetensors")
    }
    assert captions == {
        "0/0_wan_te.safetensors": "paperworld, number 0",
        "0/1_wan_te.safetensors": "paperworld, number 1",
        "0/紙 2_wan_te.safetensors": "a paperworld of 紙, “folded”",
        "1/a_wan_te.safetensors": "paperworld moves",
        f"0/{CLASS}/0_wan_te.safetensors": "origami, number 0",
        f"0/{CLASS}/1_wan_te.safetensors": "origami, number 1",
        f"0/{CLASS}/紙 2_wan_te.safetensors": "a origami of 紙, “folded”",
        f"1/{CLASS}/a_wan_te.safetensors": "origami moves",
    }


def test_the_class_of_a_caption_has_an_encoding_of_its_own(place: Path) -> None:
    cache = place / "runs" / "paper" / "cache" / "0"
    own, of_class = cache / "0_wan_te.safetensors", cache / CLASS / "0_wan_te.safetensors"
    assert [list(read_header(path).tensors) for path in (own, of_class)] == [["varlen_t5_bfloat16"]] * 2
    assert own.read_bytes() != of_class.read_bytes()


def test_a_run_in_which_nothing_changed_encodes_nothing(place: Path, wan22lora: CommandLine) -> None:
    before = caches(place)
    again = wan22lora("cache", "run.yaml")
    assert again.exit_code == 0, again.output
    assert caches(place) == before


def test_an_edited_caption_encodes_exactly_two_files(place: Path, wan22lora: CommandLine) -> None:
    before = caches(place)
    (place / "pictures" / "1.txt").write_text("paperworld, edited", encoding="utf-8")
    assert wan22lora("cache", "run.yaml").exit_code == 0
    after = caches(place)
    assert before.keys() == after.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"0/1_wan_te.safetensors", f"0/{CLASS}/1_wan_te.safetensors"}
    edited = read_header(place / "runs" / "paper" / "cache" / "0" / CLASS / "1_wan_te.safetensors")
    assert edited.metadata["caption1"] == "origami, edited"


def test_another_class_replaces_the_class_captions_alone(place: Path, wan22lora: CommandLine) -> None:
    before = caches(place)
    text = (place / "run.yaml").read_text(encoding="utf-8")
    (place / "run.yaml").write_text(text.replace("class: origami", "class: a house"), encoding="utf-8")
    assert wan22lora("cache", "run.yaml").exit_code == 0
    after = caches(place)
    kept = {name: stamp for name, stamp in before.items() if CLASS not in name}
    assert {name: stamp for name, stamp in after.items() if "/class-" not in name} == kept
    assert sorted(after.keys() - kept.keys()) == sorted(
        name.replace(CLASS, class_folder("a house")) for name in before if CLASS in name
    )
