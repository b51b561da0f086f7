from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wan22lora.models.catalogue import CATALOGUE, ModelFile
from wan22lora.models.places import locate, place, target
from wan22lora.models.progress import Lines
from wan22lora.models.record import MANIFEST, expected_sha256, keep_record, read_record, revision_for
from wan22lora.models.state import standing

VAE = CATALOGUE[0]
T5 = CATALOGUE[1]
HIGH = next(file for file in CATALOGUE if file.name == "t2v-high")


@pytest.mark.parametrize(
    "where",
    [
        f"diffusion_models/{HIGH.file_name}",
        f"diffusion_models/split_files/diffusion_models/{HIGH.file_name}",
        f"diffusion_models/Wan/2.2/{HIGH.file_name}",
        f"unet/{HIGH.file_name}",
        HIGH.file_name,
    ],
)
def test_a_file_is_found_wherever_people_keep_it(tmp_path: Path, where: str) -> None:
    assert locate(tmp_path, HIGH) is None
    assert place(tmp_path, HIGH) == target(tmp_path, HIGH) == tmp_path / "diffusion_models" / HIGH.file_name
    path = tmp_path / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert locate(tmp_path, HIGH) == path


def test_a_text_encoder_under_its_other_name_is_found(tmp_path: Path) -> None:
    path = tmp_path / "clip/umt5-xxl-enc-bf16.safetensors"
    path.parent.mkdir()
    path.touch()
    assert locate(tmp_path, T5) == path


def test_a_record_is_kept_beside_others(tmp_path: Path) -> None:
    keep_record(tmp_path, VAE, revision="1" * 40, size=3, sha256="2" * 64)
    keep_record(tmp_path, HIGH, revision="3" * 40, size=4, sha256="4" * 64)
    record = read_record(tmp_path, VAE)
    assert record is not None
    assert (record.revision, record.size, record.sha256) == ("1" * 40, 3, "2" * 64)
    unpinned = replace(HIGH, revision=None)
    assert revision_for(tmp_path, HIGH) == HIGH.revision
    assert revision_for(tmp_path, unpinned) == "3" * 40
    assert expected_sha256(tmp_path, HIGH) == "4" * 64
    assert revision_for(tmp_path / "elsewhere", unpinned) == "main"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"files": 3}', '{"files": {"vae/wan_2.1_vae.safetensors": {"size": 1}}}']
)
def test_a_damaged_manifest_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    assert read_record(tmp_path, VAE) is None


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        (VAE, b"", "is empty"),
        (VAE, b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (T5, b"PK\x03\x04" + bytes(50), "cut short"),
        (T5, b"<html>", "web page"),
    ],
)
def test_what_is_no_model_at_all_is_told(tmp_path: Path, file: ModelFile, content: bytes, why: str) -> None:
    path = target(tmp_path, file)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    found = standing(tmp_path, file)
    assert found.state == "wrong"
    assert why in found.why


def test_a_log_gets_a_line_now_and_then() -> None:
    now = [0.0]
    told: list[str] = []
    lines = Lines(told.append, every=10, clock=lambda: now[0])
    lines.begin("vae", 28_600_000_000, 600_000_000)
    for _ in range(25):
        now[0] += 1
        lines.advance(100_000_000)
    assert told == [
        "  vae: 1.6 GB of 28.6 GB, 100 MB/s, 4 min left",
        "  vae: 2.6 GB of 28.6 GB, 100 MB/s, 4 min left",
    ]
