"""Predicted buckets, batches and cache names are those of musubi-tuner itself, at both pins."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from wan22lora.dataset.latents import latents_of, text_file
from wan22lora.dataset.predict import batches_per_epoch, epochs_of, total_steps
from wan22lora.dataset.scan import Scan, scan
from wan22lora.dataset.source import Item, Source

PROBE = Path(__file__).parent / "prediction" / "ask_musubi.py"
EMPTY = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"
SIZED_GROUPS = 220
MEDIA_GROUPS = 12
CASES = 1_000

Ask = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def put(
    groups: list[dict[str, Any]], checkout: Path, python: Path, environment: dict[str, str]
) -> list[dict[str, Any]]:
    """What the musubi of a checkout says about many groups of datasets, in one process."""
    done = subprocess.run(
        [python, PROBE],
        input=json.dumps(groups),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment | {"PYTHONPATH": str(checkout / "src")},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(params=["musubi_checkout", "article_checkout"])
def ask(request: pytest.FixtureRequest, musubi_python: Path, environment: dict[str, str]) -> Ask:
    checkout: Path = request.getfixturevalue(request.param)
    return lambda groups: put(groups, checkout, musubi_python, environment)


def as_musubi(source: Source) -> dict[str, Any]:
    """A dataset of dataset.toml."""
    noun = "image" if source.kind == "images" else "video"
    place = f"{noun}_directory" if source.directory else f"{noun}_jsonl_file"
    values: dict[str, Any] = {
        place: str(source.place),
        "cache_directory": str(source.cache),
        "resolution": list(source.resolution),
        "batch_size": source.batch_size,
        "num_repeats": source.repeats,
        "caption_extension": source.caption_extension,
        "enable_bucket": source.bucket,
        "bucket_no_upscale": source.bucket_no_upscale,
    }
    if source.kind == "videos":
        values |= {
            "target_frames": list(source.frames),
            "frame_extraction": source.frame_extraction,
            "frame_stride": source.frame_stride,
            "frame_sample": source.frame_sample,
            "max_frames": source.max_frames,
        }
        values |= {"source_fps": source.source_fps} if source.source_fps else {}
    return values


def any_source(chance: random.Random, place: Path, sides: tuple[int, int], **values: Any) -> Source:
    """Every setting by chance; the folder is made."""
    place.mkdir(parents=True, exist_ok=True)
    bucket = chance.random() < 0.8
    resolution = (chance.randint(*sides), chance.randint(*sides))
    settings: dict[str, Any] = {
        "kind": chance.choice(["images", "videos"]),
        "directory": place,
        "jsonl": None,
        "cache": place.with_name(f"{place.name}-cache"),
        # Without buckets only whole steps make sense.
        "resolution": resolution if bucket else (resolution[0] // 16 * 16, resolution[1] // 16 * 16),
        "batch_size": chance.choice([1, 1, 2, 3, 4, 7]),
        "repeats": chance.choice([1, 1, 2, 3, 10]),
        "bucket": bucket,
        "bucket_no_upscale": chance.random() < 0.4,
        "frames": tuple(sorted({4 * chance.randint(0, 8) + 1 for _ in range(chance.randint(1, 3))})),
        "frame_extraction": chance.choice(["head", "chunk", "slide", "uniform", "full"]),
        "frame_stride": chance.randint(2, 8),
        "frame_sample": chance.randint(1, 5),
        "max_frames": chance.choice([129, chance.randint(1, 40)]),
        "source_fps": chance.choice([None, None, 12.0, 16.0, 24000 / 1001, 24.0, 25.0, 29.97, 30.0, 59.94, 7.3]),
    }
    return Source(index=0, **(settings | values))


def group_of(sources: list[Source], *, media: bool) -> dict[str, Any]:
    return {"config": {"datasets": [as_musubi(source) for source in sources]}, "media": media}


def logged_buckets(log: list[str]) -> list[list[tuple[tuple[int, ...], int]]]:
    """Bucket and count as musubi prints them, for each dataset that it sorts."""
    datasets: list[list[tuple[tuple[int, ...], int]]] = [[]]
    for line in log:
        if found := re.fullmatch(r"bucket: \((.*)\), count: (\d+)", line):
            sizes = tuple(int(size) for size in found[1].split(", "))
            datasets[-1].append((sizes, int(found[2])))
        elif line.startswith("total batches: "):
            datasets.append([])
    return datasets[:-1]


def predicted_buckets(found: Scan) -> list[tuple[tuple[int, ...], int]]:
    third = (9,) if found.source.kind == "images" else ()
    return [(load.bucket + third, load.count) for load in found.loads]


def agree(answer: dict[str, Any], scans: list[Scan]) -> None:
    assert logged_buckets(answer["log"]) == [predicted_buckets(found) for found in scans]
    assert answer["batches"] == batches_per_epoch(scans)
    assert answer["items"] == sum(load.count for found in scans for load in found.loads)


def sized_scan(chance: random.Random, place: Path) -> Scan:
    """A dataset of sizes alone, and the cache that it would have, as empty files."""
    # At 32 squared a picture of 250×100 is equally far from two buckets.
    source = any_source(chance, place, (32, 32) if chance.random() < 0.1 else (64, 1280))
    items = []
    for number in range(chance.randint(0, 30)):
        stem = f"{chance.choice(['a', 'b_c', 'd.e', '1024x768', 'ä'])}_{number if chance.random() < 0.9 else 0}"
        size = (chance.randint(16, 4000), chance.randint(16, 4000)) if chance.random() < 0.9 else (250, 100)
        frames = chance.randint(1, 45) if source.kind == "videos" else None
        items.append(Item(place / stem, stem, "a bird", size, frames, None))
    source.cache.mkdir()
    for item in items:
        for name in (text_file(item), *(latents.file for latents in latents_of(item, source))):
            (source.cache / name).write_bytes(EMPTY)
    # Latents without a caption file do not train.
    lonely = "lonely_0064x0064_wan" if source.kind == "images" else "lonely_00000-005_0064x0064_wan"
    (source.cache / f"{lonely}.safetensors").write_bytes(EMPTY)
    return Scan(source, tuple(items), ())


def test_buckets_and_batches_of_random_sizes_are_those_that_musubi_prints(ask: Ask, tmp_path: Path) -> None:
    chance = random.Random(22)
    groups = [
        [sized_scan(chance, tmp_path / f"{group}-{number}") for number in range(chance.randint(1, 2))]
        for group in range(SIZED_GROUPS)
    ]
    answers = ask([group_of([found.source for found in group], media=False) for group in groups])
    assert len(answers) == len(groups) >= 200
    for answer, group in zip(answers, groups, strict=True):
        agree(answer, group)
    print(f"{len(groups)} groups with {sum(len(group) for group in groups)} datasets agree")


def make_picture(chance: random.Random, path: Path) -> None:
    size = (chance.randint(16, 200), chance.randint(16, 200))
    Image.new("RGB", size, (chance.randint(0, 255), 80, 30)).save(path)


def make_clip(chance: random.Random, path: Path, codec: str) -> None:
    size = (2 * chance.randint(16, 60), 2 * chance.randint(16, 60))
    rate = Fraction(chance.choice([12.0, 16.0, 23.976, 25.0, 30.0])).limit_denominator(1001)
    as_frame: Any = av.VideoFrame.from_image
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate if codec == "libx264" else round(rate))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(chance.randint(1, 60)):
            container.mux(stream.encode(as_frame(Image.new("RGB", size, (number * 4, 90, 60)))))
        container.mux(stream.encode(None))


def media_source(chance: random.Random, place: Path) -> Source:
    """A folder, or a list in JSONL, of real pictures or clips with captions."""
    source = any_source(chance, place, (32, 160))
    paths = []
    for number in range(chance.randint(1, 8)):
        if source.kind == "images":
            path = place / f"p_{number}.x{chance.choice(['.png', '.jpg', '.webp', '.bmp', '.PNG', '.jpeg'])}"
            make_picture(chance, path)
        else:
            extension, codec = chance.choice([(".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4")])
            path = place / f"v_{number}{extension}"
            make_clip(chance, path, codec)
        path.with_suffix(".txt").write_text(f" caption {number}\r\n", encoding="utf-8")
        paths.append(path)
    for noise in ("notes.md", ".hidden.png", "thumb.gif", "more.txt"):
        (place / noise).write_bytes(b"noise")
    return listed_in_jsonl(chance, source, paths) if chance.random() < 0.4 else source


def listed_in_jsonl(chance: random.Random, source: Source, paths: list[Path]) -> Source:
    if source.kind == "videos":
        walk = source.place / "walk.v1"
        walk.mkdir()
        for number in range(chance.randint(1, 30)):
            make_picture(chance, walk / f"{number}.png")
        paths = [*paths, walk]
    key = "image_path" if source.kind == "images" else "video_path"
    file = source.place / "list.jsonl"
    lines = [json.dumps({key: str(path), "caption": f" {path.stem}\n"}) for path in paths]
    file.write_text("\n".join(lines), encoding="utf-8")
    return Source(**(vars(source) | {"directory": None, "jsonl": file}))


def test_cache_files_of_real_pictures_and_clips_are_those_that_musubi_writes(ask: Ask, tmp_path: Path) -> None:
    chance = random.Random(26)
    groups = [
        [media_source(chance, tmp_path / f"{group}-{number}") for number in range(2)] for group in range(MEDIA_GROUPS)
    ]
    scans = [[scan(source) for source in group] for group in groups]
    answers = ask([group_of(group, media=True) for group in groups])
    files = 0
    for answer, group in zip(answers, scans, strict=True):
        for cached, found in zip(answer["cached"], group, strict=True):
            latents = {
                latents.file: latents.bucket for item in found.items for latents in latents_of(item, found.source)
            }
            parts = 2 if found.source.kind == "images" else 3
            assert {file: tuple(bucket[:parts]) for file, bucket in cached["latents"].items()} == latents
            assert cached["texts"] == {text_file(item): item.caption for item in found.items}
            files += len(latents)
        agree(answer, group)
    kinds = {found.source.kind for group in scans for found in group}
    assert kinds == {"images", "videos"}
    print(f"{files} cache files of {sum(len(group) for group in groups)} datasets agree")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Small pictures and clips of many sizes, lengths, rates and containers, to be listed in any number of datasets."""
    chance, place = random.Random(7), tmp_path_factory.mktemp("media")
    pictures = [place / f"p_{number}.png" for number in range(80)]
    for path in pictures:
        make_picture(chance, path)
    containers = [(".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4")]
    clips = [(place / f"v_{number}{suffix}", codec) for number, (suffix, codec) in enumerate(containers * 20)]
    for path, codec in clips:
        make_clip(chance, path, codec)
    return {"images": pictures, "videos": [path for path, _ in clips]}


def listed_source(chance: random.Random, place: Path, media: dict[str, list[Path]]) -> Source:
    """A dataset of any settings over some of the pictures or clips."""
    source = any_source(chance, place, (32, 128))
    paths = chance.sample(media[source.kind], chance.randint(1, 9 if source.kind == "images" else 3))
    key = "image_path" if source.kind == "images" else "video_path"
    file = place / "list.jsonl"
    lines = [json.dumps({key: str(path), "caption": path.stem}) for path in paths]
    file.write_text("\n".join(lines), encoding="utf-8")
    return Source(**(vars(source) | {"directory": None, "jsonl": file}))


def any_length(chance: random.Random) -> dict[str, Any]:
    """Of a training: so many epochs, or steps where there are none."""
    return {
        "epochs": chance.choice([None, chance.randint(1, 120)]),
        "steps": chance.randint(1, 5_000),
        "accumulation": chance.choice([1, 1, 2, 3, 4, 8]),
    }


def test_a_thousand_random_runs_have_the_frames_buckets_and_steps_that_musubi_makes_of_them(
    media: dict[str, list[Path]],
    musubi_checkout: Path,
    musubi_python: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    chance = random.Random(1000)
    cases = [
        [listed_source(chance, tmp_path / f"{case}-{number}", media) for number in range(chance.randint(1, 2))]
        for case in range(CASES)
    ]
    lengths = [[any_length(chance) for _ in range(2)] for _ in cases]
    groups = [group_of(case, media=True) | {"lengths": wanted} for case, wanted in zip(cases, lengths, strict=True)]
    answers = put(groups, musubi_checkout, musubi_python, environment)
    assert len(answers) == CASES
    windows: Counter[str] = Counter()
    for case, wanted, answer in zip(cases, lengths, answers, strict=True):
        scans = [scan(source) for source in case]
        for cached, found in zip(answer["cached"], scans, strict=True):
            parts = 2 if found.source.kind == "images" else 3
            made = {file: tuple(bucket[:parts]) for file, bucket in cached["latents"].items()}
            assert made == {
                latents.file: latents.bucket for item in found.items for latents in latents_of(item, found.source)
            }
            windows[found.source.kind if found.source.kind == "images" else found.source.frame_extraction] += len(made)
        agree(answer, scans)
        batches = batches_per_epoch(scans)
        if not batches:
            continue  # nothing to train on, at which musubi stops before it counts
        for each, (steps, epochs) in zip(wanted, answer["lengths"], strict=True):
            assert total_steps(batches, **each) == steps
            assert epochs_of(batches, steps, each["accumulation"]) == epochs
    assert min(windows[kind] for kind in ("images", "head", "chunk", "slide", "uniform", "full")) > 50, windows
    print(f"{CASES} runs agree: {dict(windows)} cache files")


def test_pictures_without_a_caption_do_not_train_at_the_default_pin(
    musubi_checkout: Path, musubi_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    place = tmp_path / "pictures"
    place.mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (64, 48)).save(place / f"{name}.png")
    (place / "b.txt").write_text("a bird", encoding="utf-8")
    source = Source(0, "images", place, None, tmp_path / "cache", (64, 64))
    (answer,) = put([group_of([source], media=True)], musubi_checkout, musubi_python, environment)
    found = scan(source)
    assert list(answer["cached"][0]["latents"]) == ["b_0064x0048_wan.safetensors"]
    assert [item.stem for item in found.items] == ["b"]
    agree(answer, [found])
