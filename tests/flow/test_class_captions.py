"""Preservation's captions and held-out items in whole rehearsals."""

from __future__ import annotations

from wan22lora.musubi.safetensors import read_header
from wan22lora.plan.class_captions import class_folder

from .conftest import Place

RUN = """
name: paper
preset: article-wan22
images: pictures
trigger: paperworld
train: {epochs: 2, preservation: {class: origami}}
"""
CLASS = class_folder("origami")


def encoded(place: Place) -> dict[str, int]:
    """Every text cache file by dataset, class and name, with what changes when it is written again."""
    cache = place.run / "cache"
    return {str(path.relative_to(cache)): path.stat().st_mtime_ns for path in cache.rglob("*_wan_te.safetensors")}


def test_captions_and_class_captions_are_encoded_by_one_program(place: Place) -> None:
    place.write(RUN)
    done = place.wan22lora("cache", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert len(encoded(place)) == 36
    header = read_header(place.run / "cache" / "0" / CLASS / "03_wan_te.safetensors")
    assert header.metadata["caption1"] == "origami, picture 3"


def test_an_edited_caption_is_encoded_twice_and_nothing_else(place: Place) -> None:
    place.write(RUN)
    assert place.wan22lora("cache", "run.yaml", "--rehearse").exit_code == 0
    before = encoded(place)
    (place.path / "pictures" / "03.txt").write_text("paperworld, edited", encoding="utf-8")
    assert place.wan22lora("cache", "run.yaml", "--rehearse").exit_code == 0
    changed = {name for name, time in encoded(place).items() if before[name] != time}
    assert changed == {"0/03_wan_te.safetensors", f"0/{CLASS}/03_wan_te.safetensors"}


def test_a_killed_caching_leaves_no_half_class_caption(place: Place) -> None:
    place.write(RUN)
    done = place.wan22lora("cache", "run.yaml", "--rehearse", env={"WAN22LORA_FAULT": "cache-text:half-cache@25"})
    assert done.exit_code == 5, done.output
    assert place.wan22lora("cache", "run.yaml", "--rehearse").exit_code == 0
    captions = {name: read_header(place.run / "cache" / name).metadata["caption1"] for name in encoded(place)}
    assert len(captions) == 36
    assert all(caption.startswith("origami" if CLASS in name else "paperworld") for name, caption in captions.items())


def test_without_preservation_the_class_captions_go(place: Place) -> None:
    place.write(RUN)
    assert place.wan22lora("cache", "run.yaml", "--rehearse").exit_code == 0
    place.write(RUN.replace("{class: origami}", "null"))
    done = place.wan22lora("cache", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert sorted(encoded(place)) == [f"0/{index:02d}_wan_te.safetensors" for index in range(18)]


def test_a_caption_without_the_trigger_stops_the_run_before_anything_starts(place: Place) -> None:
    place.write(RUN)
    (place.path / "pictures" / "03.txt").write_text("a house", encoding="utf-8")
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 3
    assert "pictures/03.txt: 1 of 18 captions lacks the trigger `paperworld`: 03.png" in done.stderr
    assert "preservation: null" in done.stderr
    assert not place.run.exists()


def test_clips_have_class_captions_too(place: Place, clips: object) -> None:
    place.write(RUN.replace("images: pictures", "videos: clips\ndata: {frames: 17}").replace("paperworld", "zxq"))
    done = place.wan22lora("cache", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    files = [f"0/{name}_wan_te.safetensors" for name in ("a", "b")]
    assert sorted(encoded(place)) == [*files, *(name.replace("0/", f"0/{CLASS}/") for name in files)]


def test_a_run_says_what_it_holds_out(place: Place) -> None:
    place.write(RUN + "validation: {hold_out: [03.png, 07.png]}\n")
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert (place.run / "held-out.txt").read_text("utf-8") == "0/03\n0/07\n"
    assert "held out for the validation: 03.png, 07.png" in done.stdout


def test_an_item_to_hold_out_that_is_not_there_stops_the_run(place: Place) -> None:
    place.write(RUN + "validation: {hold_out: [03.pgn]}\n")
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 3
    assert "did you mean '03.png'?" in done.stderr
