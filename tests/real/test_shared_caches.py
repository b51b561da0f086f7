"""Several run.yamls over one folder, and files in a cache folder that are not of the run, by the real musubi-tuner."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.musubi.safetensors import read_header, write

from .command_line import CommandLine, write_pictures
from .environment import SmallModels

RUN = """
name: {name}
preset: article-wan22
images: {pictures}
data: {{resolution: {resolution}}}
models: {{high: {m.t2v_high}, low: {m.t2v_low}, vae: {m.vae}, t5: {m.t5}}}
"""


class Place:
    """A person's folder with a folder of pictures and several run.yamls."""

    def __init__(self, path: Path, models: SmallModels, wan22lora: CommandLine) -> None:
        self.path, self.models, self.wan22lora = path, models, wan22lora

    def run(self, name: str, resolution: int = 64, folder: str = ".") -> str:
        """Writes a run.yaml and returns its name."""
        (self.path / folder).mkdir(exist_ok=True)
        file = self.path / folder / f"{name}.yaml"
        pictures = self.path / "pictures"
        text = RUN.format(name=name, resolution=resolution, pictures=pictures, m=self.models)
        file.write_text(text, encoding="utf-8")
        return str(file)

    def encoded(self, name: str, run_file: str, folder: str = ".") -> set[str]:
        """Caches, and tells which programs of musubi ran for that."""
        events = self.path / folder / "runs" / name / "events.jsonl"
        before = len(events.read_text("utf-8").splitlines()) if events.exists() else 0
        done = self.wan22lora("cache", run_file)
        assert done.exit_code == 0, done.output
        told = map(json.loads, events.read_text("utf-8").splitlines()[before:])
        return {event["id"] for event in told if event["event"] == "step-started"}

    def files(self, name: str, folder: str = ".") -> dict[str, int]:
        cache = self.path / folder / "runs" / name / "cache" / "0"
        return {path.name: path.stat().st_ino for path in cache.glob("*.safetensors")}


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, small_models: SmallModels, command_line: Callable[..., CommandLine]
) -> Place:
    """Two pictures, encoded by the run `one`."""
    path = tmp_path_factory.mktemp("shared")
    write_pictures(path / "pictures", [(64, 64), (80, 64)])
    place = Place(path, small_models, command_line(path))
    assert place.encoded("one", place.run("one")) == {"cache-latents", "cache-text"}
    return place


def test_another_run_over_the_same_folder_encodes_nothing(place: Place) -> None:
    assert place.encoded("two", place.run("two")) == set()
    assert place.files("two") == place.files("one")


def test_a_run_file_in_another_folder_encodes_nothing_either(place: Place) -> None:
    far = place.run("far", folder="elsewhere")
    assert place.encoded("far", far, "elsewhere") == set()
    assert place.files("far", "elsewhere") == place.files("one")


def test_another_resolution_encodes_the_latents_alone_and_leaves_the_others(place: Place) -> None:
    before = place.files("one")
    assert place.encoded("large", place.run("large", 96)) == {"cache-latents"}
    large = place.files("large")
    assert large.keys() == before.keys()
    assert {name for name in large if large[name] == before[name]} == {"0_wan_te.safetensors", "1_wan_te.safetensors"}
    assert place.files("one") == before
    assert place.encoded("larger", place.run("larger", 96)) == set()


def test_a_caption_changed_for_all_is_encoded_once(place: Place) -> None:
    (place.path / "pictures" / "1.txt").write_text("paperworld, edited", encoding="utf-8")
    assert place.encoded("one", place.run("one")) == {"cache-text"}
    assert place.encoded("large", place.run("large", 96)) == set()
    assert place.encoded("one", place.run("one")) == set()
    file = place.path / "runs" / "large" / "cache" / "0" / "1_wan_te.safetensors"
    assert read_header(file).metadata["caption1"] == "paperworld, edited"


def test_without_the_first_run_the_others_still_have_their_files(place: Place) -> None:
    place.encoded("kept", place.run("kept"))
    before = place.files("kept")
    assert place.wan22lora("cache", place.run("gone")).exit_code == 0
    shutil.rmtree(place.path / "runs" / "gone")
    assert place.encoded("kept", place.run("kept")) == set()
    assert place.files("kept") == before


def test_foreign_files_are_set_aside_where_musubi_would_train_on_them_and_never_deleted(place: Place) -> None:
    place.encoded("mine", place.run("mine"))
    cache = place.path / "runs" / "mine" / "cache" / "0"
    trained_on = {"stranger_0064x0064_wan.safetensors", "stranger_wan_te.safetensors", "my_lora_wan.safetensors"}
    shutil.copy(cache / "0_0064x0064_wan.safetensors", cache / "stranger_0064x0064_wan.safetensors")
    shutil.copy(cache / "0_wan_te.safetensors", cache / "stranger_wan_te.safetensors")
    write(cache / "my_lora_wan.safetensors", {"x.lora_down.weight": ("F32", (1,), b"1234")}, {})
    left_alone = {"notes.txt", "lora.safetensors", "0_0064x0064_hv.safetensors"}
    for name in left_alone:
        (cache / name).write_bytes(b"mine")
    write_pictures(place.path / "more", [(64, 64)])
    for suffix in (".png", ".txt"):
        (place.path / "more" / f"0{suffix}").rename(place.path / "pictures" / f"2{suffix}")
    (place.path / "pictures" / "2.txt").write_text("paperworld, one more", encoding="utf-8")
    content = {name: (cache / name).read_bytes() for name in trained_on}

    assert place.encoded("mine", place.run("mine")) == {"cache-latents", "cache-text"}
    log = (place.path / "runs" / "mine" / "events.jsonl").read_text("utf-8")
    assert "stranger_0064x0064_wan.safetensors" in log
    previous = place.path / "runs" / "mine" / "previous"
    aside = {path.name: path.read_bytes() for path in previous.rglob("*.safetensors")}
    assert aside == content
    here = {path.name for path in cache.iterdir()}
    assert here >= left_alone
    assert not here & trained_on
    assert "2_0064x0064_wan.safetensors" in here
