"""The table of docs/caches.md: what is encoded again after one change, and nothing else, by the real musubi-tuner.

Every row begins with a copy of one cached run. What was encoded is what lies in the folder under a new inode.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from wan22lora.plan.class_captions import class_folder

from .command_line import CommandLine, write_clip, write_pictures
from .environment import SmallModels
from .test_prediction import put

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RUN = """
name: paper
preset: article-wan22
datasets: [{images: pictures, repeats: 1}, {videos: clips, frames: 5}]
trigger: paperworld
data: {resolution: 64}
models: {high: high.safetensors, low: low.safetensors, vae: vae.safetensors, t5: t5.pth}
train: {preservation: {class: origami}}
"""
CLASS = class_folder("origami")
A, B, WIDE, CLIP = "0/a_0064x0064", "0/b_0064x0064", "0/wide_0128x0064", "1/walk_00000-005_0064x0064"
LATENTS = {f"{name}_wan.safetensors" for name in (A, B, WIDE, CLIP)}
TEXTS = {f"{name}_wan_te.safetensors" for name in ("0/a", "0/b", "0/wide", "1/walk")}
CLASS_TEXTS = {
    f"{name}_wan_te.safetensors" for name in (f"0/{CLASS}/a", f"0/{CLASS}/b", f"0/{CLASS}/wide", f"1/{CLASS}/walk")
}


ALL = LATENTS | TEXTS | CLASS_TEXTS
FIRST = "{images: pictures, repeats: 1}, {videos: clips, frames: 5}"
SECOND = "{videos: clips, frames: 5}, {images: pictures, repeats: 1}"


def latents(*names: str) -> set[str]:
    return {f"{name}_wan.safetensors" for name in names}


def texts(*names: str) -> set[str]:
    return {f"{name}_wan_te.safetensors" for name in names}


def both(*names: str) -> set[str]:
    """A caption's file and the one with the class in it."""
    return texts(*names, *(name.replace("/", f"/{CLASS}/") for name in names))


@dataclass(frozen=True)
class Here:
    """The folder of one row."""

    place: Path
    wan22lora: CommandLine

    @property
    def cache(self) -> Path:
        return self.place / "runs" / "paper" / "cache"

    def files(self) -> dict[str, int]:
        """Cache files by their names in the cache folder, each with its inode."""
        found = (path for path in self.cache.rglob("*.safetensors"))
        return {str(path.relative_to(self.cache)): path.stat().st_ino for path in found}

    def edit(self, old: str, new: str) -> None:
        file = self.place / "run.yaml"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def picture(self, name: str, size: tuple[int, int] = (64, 64), caption: str | None = None) -> None:
        Image.effect_noise(size, 60).convert("RGB").save(self.place / "pictures" / f"{name}.png")
        if caption is not None:
            self.caption(name, caption)

    def caption(self, name: str, text: str) -> None:
        (self.place / "pictures" / f"{name}.txt").write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Row:
    """One change and what it costs."""

    name: str
    change: Callable[[Here], object]
    encoded: set[str]
    gone: set[str]
    renamed: set[str]


def row(
    name: str,
    change: Callable[[Here], object],
    encoded: set[str] | None = None,
    gone: set[str] | None = None,
    renamed: set[str] | None = None,
) -> Row:
    return Row(name, change, encoded or set(), gone or set(), renamed or set())


def rename(here: Here) -> None:
    for suffix in (".png", ".txt"):
        (here.place / "pictures" / f"a{suffix}").rename(here.place / "pictures" / f"z{suffix}")


def swap(here: Here) -> None:
    folder = here.place / "pictures"
    (folder / "a.png").rename(folder / "c.png")
    (folder / "b.png").rename(folder / "a.png")
    (folder / "c.png").rename(folder / "b.png")


def remove(here: Here) -> None:
    for suffix in (".png", ".txt"):
        (here.place / "pictures" / f"b{suffix}").unlink()


def touch(here: Here) -> None:
    for path in (here.place / "pictures").iterdir():
        path.write_bytes(path.read_bytes())
        os.utime(path, (1_000_000_000, 1_000_000_000))


def other_vae(here: Here) -> None:
    """By the same name and of the same size."""
    file = here.place / "vae.safetensors"
    content = file.read_bytes()
    data = 8 + int.from_bytes(content[:8], "little")
    file.unlink()
    file.write_bytes(content[:data] + content[data + 4096 :] + content[data : data + 4096])


def other_t5(here: Here) -> None:
    """By the same name, with every tensor's numbers in another order."""
    file = here.place / "t5.pth"
    with zipfile.ZipFile(file) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    file.unlink()
    with zipfile.ZipFile(file, "w") as new:
        for name, content in parts.items():
            half = len(content) // 4 * 2 if "/data/" in name else 0
            new.writestr(name, content[half:] + content[:half])


def image_to_video(here: Here) -> None:
    here.edit("preset: article-wan22", "preset: article-wan22\ntask: i2v-A14B")
    here.edit("high: high", "high: i2v_high")
    here.edit("low: low", "low: i2v_low")


def move_weights(here: Here) -> None:
    (here.place / "elsewhere").mkdir()
    for name, new in (("vae.safetensors", "elsewhere/wan_2.1_vae.safetensors"), ("t5.pth", "elsewhere/t5.pth")):
        (here.place / name).rename(here.place / new)
        here.edit(name, new)


def delete_weights(here: Here) -> None:
    (here.place / "vae.safetensors").unlink()
    (here.place / "t5.pth").unlink()


NEW_LATENTS = {name.replace("_0064x0064_wan", "_0096x0096_wan") for name in latents(CLIP)}
ROWS = [
    row("nothing", lambda here: None),
    row("a caption", lambda here: here.caption("a", "a paperworld, edited"), both("0/a")),
    row("a caption but not what follows the trigger's place", lambda here: here.caption("a", "paperworld, number 0 ")),
    row("a picture by one of its size", lambda here: here.picture("a"), latents(A)),
    row(
        "a picture by one of another size",
        lambda here: here.picture("a", (80, 64)),
        latents("0/a_0080x0064"),
        latents(A),
    ),
    row("a picture's name", rename, gone=latents(A) | both("0/a"), renamed=latents("0/z_0064x0064") | both("0/z")),
    row("two pictures against each other", swap, renamed=latents(A, B)),
    row("times of all files", touch),
    row(
        "a picture more",
        lambda here: here.picture("new", caption="paperworld, new"),
        latents("0/new_0064x0064") | both("0/new"),
    ),
    row(
        "a picture more of a known caption",
        lambda here: here.picture("new", caption="paperworld, number 0"),
        latents("0/new_0064x0064"),
        renamed=both("0/new"),
    ),
    row("a picture less", remove, gone=latents(B) | both("0/b")),
    row(
        "the resolution",
        lambda here: here.edit("resolution: 64", "resolution: 96"),
        latents(A, B, WIDE) | NEW_LATENTS,
        latents(CLIP),
    ),
    row(
        "buckets off: the one picture that had another bucket",
        lambda here: here.edit("repeats: 1", "bucket: false"),
        latents(WIDE),
    ),
    row(
        "a larger resolution to which nothing is enlarged: what is smaller stays",
        lambda here: here.edit("resolution: 64", "resolution: [128, 80], bucket_no_upscale: true"),
        latents(WIDE) | NEW_LATENTS,
        latents(CLIP),
    ),
    row("batch size", lambda here: here.edit("repeats: 1", "batch_size: 2")),
    row("repeats", lambda here: here.edit("repeats: 1", "repeats: 5")),
    row("learning rate", lambda here: here.edit("train: {", "train: {learning_rate: 1e-5, ")),
    row(
        "a clip's frames",
        lambda here: here.edit("frames: 5", "frames: 9"),
        latents("1/walk_00000-009_0064x0064"),
        latents(CLIP),
    ),
    row(
        "frame extraction: windows that were there stay",
        lambda here: here.edit("frames: 5", "frames: 5, frame_extraction: chunk"),
        latents("1/walk_00005-005_0064x0064"),
    ),
    row(
        "source_fps, which drops every other frame",
        lambda here: here.edit("frames: 5", "frames: 5, source_fps: 32.0"),
        latents(CLIP),
    ),
    row("the VAE's content", other_vae, LATENTS),
    row("the text encoder's content", other_t5, TEXTS | CLASS_TEXTS),
    row("place and name of VAE and text encoder", move_weights),
    row("VAE and text encoder are deleted", delete_weights),
    row(
        "an option of the VAE",
        lambda here: here.edit("trigger:", "musubi: {cache-latents: {vae_dtype: float32}}\ntrigger:"),
        LATENTS,
    ),
    row(
        "the class",
        lambda here: here.edit("class: origami", "class: a house"),
        {name.replace(CLASS, class_folder("a house")) for name in CLASS_TEXTS},
        CLASS_TEXTS,
    ),
    row("the trigger", lambda here: here.edit("trigger: paperworld", "trigger: paper"), CLASS_TEXTS),
    row("no preservation", lambda here: here.edit("{preservation: {class: origami}}", "{}"), gone=CLASS_TEXTS),
    row("the task: with the first frame", image_to_video, LATENTS),
    row(
        "the order of the datasets",
        lambda here: here.edit(FIRST, SECOND),
        gone=ALL,
        renamed={f"{1 - int(name[0])}{name[1:]}" for name in ALL},
    ),
]


@pytest.fixture(scope="module")
def cached(
    tmp_path_factory: pytest.TempPathFactory, small_models: SmallModels, command_line: Callable[..., CommandLine]
) -> Path:
    """Three pictures of two shapes and a clip, cached."""
    place = tmp_path_factory.mktemp("staleness") / "cached"
    place.mkdir()
    write_pictures(place / "pictures", [(64, 64), (64, 64), (128, 64)])
    for number, name in enumerate(("a", "b", "wide")):
        for suffix in (".png", ".txt"):
            (place / "pictures" / f"{number}{suffix}").rename(place / "pictures" / f"{name}{suffix}")
    (place / "clips").mkdir()
    write_clip(place / "clips" / "walk.mp4", frames=12, rate=16)
    (place / "clips" / "walk.txt").write_text("paperworld walks", encoding="utf-8")
    files = {"high": "t2v_high", "low": "t2v_low", "i2v_high": "i2v_high", "i2v_low": "i2v_low", "vae": "vae"}
    for name, model in files.items():
        os.link(getattr(small_models, model), place / f"{name}.safetensors")
    os.link(small_models.t5, place / "t5.pth")
    (place / "run.yaml").write_text(RUN, encoding="utf-8")
    done = command_line(place)("cache", "run.yaml")
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture
def here(cached: Path, tmp_path: Path, command_line: Callable[..., CommandLine]) -> Here:
    """A copy, whose weights are links and whose cache files are not."""
    return copy_of(cached, tmp_path / "here", command_line)


def copy_of(cached: Path, place: Path, command_line: Callable[..., CommandLine], **checkout: Path) -> Here:
    place.mkdir()
    for name in ("pictures", "clips", "runs"):
        shutil.copytree(cached / name, place / name)
    for path in cached.iterdir():
        if path.suffix in (".safetensors", ".pth"):
            os.link(path, place / path.name)
    shutil.copy(cached / "run.yaml", place / "run.yaml")
    return Here(place, command_line(place, **checkout))


def differences(before: dict[str, int], after: dict[str, int]) -> tuple[set[str], set[str], set[str]]:
    """What was encoded, what is gone, and what is a file that was there before under another name."""
    changed = {name for name in after if before.get(name) != after[name]}
    renamed = {name for name in changed if after[name] in before.values()}
    return changed - renamed, before.keys() - after.keys(), renamed


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_one_change_encodes_exactly_what_depends_on_it(row: Row, here: Here, trained: list[Trained]) -> None:
    before = here.files()
    assert before.keys() == ALL
    row.change(here)
    done = here.wan22lora("cache", "run.yaml")
    assert done.exit_code == 0, done.output
    after = here.files()
    assert differences(before, after) == (row.encoded, row.gone, row.renamed)
    assert after.keys() == (ALL - row.gone) | row.encoded | row.renamed
    again = here.wan22lora("cache", "run.yaml")
    assert again.exit_code == 0, again.output
    assert here.files() == after
    trained.append(Trained(row.name, here.place, {name for name in after if "class-" not in name}))


def test_what_the_printed_script_encodes_is_known_from_then_on(here: Here) -> None:
    here.picture("new", caption="paperworld, new")
    here.caption("a", "paperworld, edited")
    script = here.wan22lora("cache", "run.yaml", "--dry-run")
    assert script.exit_code == 0, script.output
    subprocess.run(["sh", "-c", script.output], check=True, env=here.wan22lora.environment, capture_output=True)
    after = here.files()
    again = here.wan22lora("cache", "run.yaml")
    assert again.exit_code == 0, again.output
    assert "nothing to do" in again.output
    assert here.files() == after
    here.picture("new")
    assert here.wan22lora("cache", "run.yaml").exit_code == 0
    assert differences(after, here.files()) == (latents("0/new_0064x0064"), set(), set())


def test_another_revision_of_musubi_encodes_everything(
    cached: Path, tmp_path: Path, command_line: Callable[..., CommandLine], article_checkout: Path
) -> None:
    here = copy_of(cached, tmp_path / "here", command_line, checkout=article_checkout)
    before = here.files()
    here.edit("preset:", "pin: article\npreset:")
    here.edit("train: {preservation: {class: origami}}", "train: {}")
    done = here.wan22lora("cache", "run.yaml")
    assert done.exit_code == 0, done.output
    assert differences(before, here.files()) == (LATENTS | TEXTS, CLASS_TEXTS, set())


def test_swapped_pictures_have_each_others_latents(here: Here) -> None:
    before = here.files()
    swap(here)
    assert here.wan22lora("cache", "run.yaml").exit_code == 0
    after = here.files()
    (a,), (b,) = latents(A), latents(B)
    assert (after[a], after[b]) == (before[b], before[a])


@dataclass(frozen=True)
class Trained:
    """What a training is to find after a row."""

    row: str
    place: Path
    files: set[str]


@pytest.fixture(scope="module")
def trained(musubi_checkout: Path, musubi_python: Path, environment: dict[str, str]) -> Iterator[list[Trained]]:
    """At the end musubi says, in one process, which files it would train on in the folder of every row."""
    rows: list[Trained] = []
    yield rows
    groups = [
        {"config": tomllib.loads((row.place / "runs/paper/dataset.toml").read_text("utf-8")), "media": False}
        for row in rows
    ]
    for row, answer in zip(rows, put(groups, musubi_checkout, musubi_python, environment), strict=True):
        found = {str(Path(path).relative_to(row.place / "runs/paper/cache")) for path in answer["trained"]}
        assert found == row.files, row.row
