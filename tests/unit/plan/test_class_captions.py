"""The captions of preserved classes: what is encoded, where its cache lies, and what makes which of it stale."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source
from wan22lora.musubi.safetensors import write
from wan22lora.plan.class_captions import captions_file, class_folder
from wan22lora.plan.contents import Contents
from wan22lora.plan.manifest import read_manifest
from wan22lora.plan.prepared import Prepared
from wan22lora.run.caching import begin, drop_overtaken, settle

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RUN = """
name: paper
preset: article-wan22
images: pictures
trigger: paperworld
train: {{{train}}}
"""
PERSON = "preservation: {class: person}"
Prepare = Callable[..., Prepared]


@pytest.fixture
def prepare(plan: Callable[..., Prepared]) -> Prepare:
    def prepare(train: str, *, more: str = "") -> Prepared:
        return plan(RUN.format(train=train) + more)

    return prepare


def files(prepared: Prepared) -> dict[str, str]:
    return {file.path.name: file.content for file in prepared.plan.files}


def text_options(prepared: Prepared) -> str:
    step = next(step for step in prepared.plan.steps if step.id == "cache-text")
    return step.argv[step.argv.index("--dataset_config") + 1]


def encode(prepared: Prepared) -> set[str]:
    """Plays the caching of captions; returns what was encoded, by folder and name."""
    state = prepared.caches["cache-text"]
    cache = prepared.plan.folder / "cache"
    begin(state, cache, prepared.contents)
    for path in state.missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        caption = state.expected[path]["caption"]
        write(path, {"varlen_t5_bfloat16": ("BF16", (1,), b"12")}, {"caption1": caption})
    assert drop_overtaken(state, prepared.scans, prepared.contents) == []
    assert settle(state, cache, Contents()) == []
    return {str(path.relative_to(cache)) for path in state.missing}


def training_keys(prepared: Prepared) -> dict[str, str]:
    return {step.id: step.key["pictures and captions"] for step in prepared.plan.steps if step.key}


def test_without_preservation_the_captions_are_encoded_as_ever(prepare: Prepare) -> None:
    prepared = prepare("preservation: null")
    assert set(files(prepared)) == {"dataset.toml"}
    assert text_options(prepared).endswith("/dataset.toml")


def test_each_caption_is_encoded_again_with_the_class_in_the_triggers_place(prepare: Prepare) -> None:
    prepared = prepare(PERSON)
    lines = [json.loads(line) for line in files(prepared)[f"{class_folder('person')}-0.jsonl"].splitlines()]
    assert [line["caption"] for line in lines] == [f"person, picture {index}" for index in range(18)]
    assert all(Path(line["image_path"]).is_absolute() for line in lines)


def test_only_the_encoding_of_captions_sees_the_class_captions(prepare: Prepare) -> None:
    prepared = prepare(PERSON)
    own, further = tomllib.loads(files(prepared)["dataset-text.toml"])["datasets"]
    assert tomllib.loads(files(prepared)["dataset.toml"])["datasets"] == [own]
    assert text_options(prepared).endswith("/dataset-text.toml")
    assert further["cache_directory"] == f"{own['cache_directory']}/{class_folder('person')}"
    others = [step for step in prepared.plan.steps if step.id != "cache-text"]
    assert not any("dataset-text.toml" in token for step in others for token in step.argv)


def test_a_class_that_both_experts_preserve_is_encoded_once(prepare: Prepare) -> None:
    two = "experts: {high: {preservation: {class: house}}}\n"
    assert len(prepare(PERSON).caches["cache-text"].expected) == 2 * 18
    assert len(prepare(PERSON, more=two).caches["cache-text"].expected) == 3 * 18


def test_the_class_captions_of_two_datasets_do_not_share_a_record(
    plan: Callable[..., Prepared], tmp_path: Path, pictures: Path
) -> None:
    text = RUN.format(train=PERSON).replace("images: pictures", "datasets: [{images: pictures}, {images: more}]")
    (tmp_path / "more").mkdir()
    for name in ("00.png", "00.txt"):
        (tmp_path / "more" / name).write_bytes((pictures / name).read_bytes())
    encode(plan(text))
    (tmp_path / "more" / "00.txt").write_text("paperworld, another one", encoding="utf-8")
    name = class_folder("person")
    assert encode(plan(text)) == {"1/00_wan_te.safetensors", f"1/{name}/00_wan_te.safetensors"}


def test_an_edited_caption_makes_two_files_stale(prepare: Prepare, pictures: Path) -> None:
    assert len(encode(prepare(PERSON))) == 36
    assert encode(prepare(PERSON)) == set()
    (pictures / "03.txt").write_text("paperworld, edited", encoding="utf-8")
    prepared = prepare(PERSON)
    name = class_folder("person")
    assert prepared.caches["cache-text"].why == "2 of 36 files to encode: caption edited"
    assert encode(prepared) == {"0/03_wan_te.safetensors", f"0/{name}/03_wan_te.safetensors"}


def test_another_trigger_that_gives_the_same_class_captions_encodes_the_captions_alone(
    plan: Callable[..., Prepared], pictures: Path
) -> None:
    encode(plan(RUN.format(train=PERSON)))
    for path in pictures.glob("*.txt"):
        path.write_text(path.read_text("utf-8").replace("paperworld", "zxq"), encoding="utf-8")
    encoded = encode(plan(RUN.format(train=PERSON).replace("paperworld", "zxq")))
    assert len(encoded) == 18
    assert not any(class_folder("person") in name for name in encoded)


def test_class_captions_that_nobody_preserves_any_longer_are_removed(prepare: Prepare) -> None:
    encode(prepare(PERSON))
    prepared = prepare("preservation: {class: house}")
    left = prepared.plan.folder / "cache" / "0" / class_folder("person")
    assert {path.parent for path in prepared.caches["cache-text"].outdated} == {left}
    encode(prepared)
    assert list(left.iterdir()) == []
    encode(prepare("preservation: null"))
    folder = prepared.plan.folder / "cache"
    assert not list(folder.glob("*/class-*/*"))
    assert not any("class-" in name for name in read_manifest(folder).files)


def test_a_training_depends_on_the_class_captions_of_its_own_expert_alone(prepare: Prepare, pictures: Path) -> None:
    none, high = "preservation: null", "experts: {high: {preservation: {class: person}}}\n"
    plain, one = training_keys(prepare(none)), training_keys(prepare(none, more=high))
    assert plain["train-high"] == plain["train-low"] == one["train-low"] != one["train-high"]
    (pictures / "03.txt").write_text("paperworld, edited", encoding="utf-8")
    edited = training_keys(prepare(none, more=high))
    assert edited["train-low"] == training_keys(prepare(none))["train-low"] != plain["train-low"]
    assert edited["train-high"] != one["train-high"]


def test_one_caption_without_the_trigger_is_an_error_at_its_file(prepare: Prepare, pictures: Path) -> None:
    (pictures / "03.txt").write_text("a house", encoding="utf-8")
    found = [finding for finding in prepare(PERSON).dataset_findings if finding.level == "error"]
    assert [finding.where for finding in found] == [str(pictures / "03.txt")]
    assert "1 of 18 captions lacks the trigger `paperworld`: 03.png" in found[0].message
    assert "`preservation: null`" in found[0].fix


def test_a_trigger_in_other_capitals_is_named_as_such(prepare: Prepare, pictures: Path) -> None:
    (pictures / "03.txt").write_text("a house", encoding="utf-8")
    (pictures / "04.txt").write_text("Paperworld. A house.", encoding="utf-8")
    found = [finding for finding in prepare(PERSON).dataset_findings if finding.level == "error"]
    assert "03.png, 04.png; 1 has it in other capitals, which is another word to the model" in found[0].message


def test_many_captions_without_the_trigger_are_one_error(prepare: Prepare, pictures: Path) -> None:
    for path in pictures.glob("*.txt"):
        path.write_text("a house", encoding="utf-8")
    found = [finding for finding in prepare(PERSON).dataset_findings if finding.level == "error"]
    assert [finding.where for finding in found] == [str(pictures)]
    assert "and 13 more" in found[0].message


def test_without_preservation_a_missing_trigger_stays_a_remark(prepare: Prepare, pictures: Path) -> None:
    (pictures / "03.txt").write_text("a house", encoding="utf-8")
    assert [finding.level for finding in prepare("preservation: null").dataset_findings] == ["warning"]


@given(st.text(), st.text())
def test_any_caption_and_file_name_survives_the_file(stem: str, caption: str) -> None:
    path = Path("/pictures") / f"{stem}\udcff.png".replace("\0", "")
    item = Item(path, "stem", caption, (64, 64), None, None)
    source = Source(0, "images", None, Path("/run/class.jsonl"), Path("/run/cache/0/class"), (64, 64))
    content = captions_file(Scan(source, (item, item), ())).content
    read: list[dict[str, Any]] = [json.loads(line) for line in content.encode().decode().split("\n") if line]
    assert read == [{"image_path": str(path), "caption": caption}] * 2


def test_clips_are_listed_as_clips() -> None:
    item = Item(Path("/clips/a.mp4"), "a", "a person moves", (64, 64), 17, 16.0)
    source = Source(0, "videos", None, Path("/run/class.jsonl"), Path("/run/cache/0/class"), (64, 64))
    assert json.loads(captions_file(Scan(source, (item,), ())).content)["video_path"] == "/clips/a.mp4"
