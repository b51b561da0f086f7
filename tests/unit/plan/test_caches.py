"""What counts as stale, without any program: the manifest, the files on disk, and what the run needs now."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.musubi.safetensors import write
from wan22lora.plan.caches import CacheState, cache_state
from wan22lora.plan.contents import Contents, fingerprint
from wan22lora.plan.manifest import Manifest, manifest_path, read_manifest, write_manifest
from wan22lora.run.caching import begin, settle

KEY = {"content": "abc", "bucket": "960×960", "vae": "vae.safetensors"}


def latents(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_0064x0064_wan.safetensors"
    write(path, {"latents": ("F32", (2,), b"12345678")}, {})
    return path


def settled(folder: Path, *names: str) -> tuple[dict[Path, dict[str, str]], Manifest]:
    """A cache folder whose files are all recorded as made from KEY."""
    expected = {latents(folder / "0", name): dict(KEY) for name in names}
    state = cache_state("latents", expected, Manifest(), [folder / "0"])
    settle(state, folder, Contents())
    return expected, read_manifest(folder)


def test_recorded_files_are_current(tmp_path: Path) -> None:
    expected, manifest = settled(tmp_path, "a", "b")
    state = cache_state("latents", expected, manifest, [tmp_path / "0"])
    assert (state.missing, state.outdated) == ((), ())
    assert state.why == "all 2 files are current"


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [("content", "xyz", "replaced"), ("bucket", "512×512", "size changed"), ("vae", "other", "other VAE")],
)
def test_a_changed_ingredient_makes_one_file_stale_and_is_named(
    tmp_path: Path, part: str, value: str, reason: str
) -> None:
    expected, manifest = settled(tmp_path, "a", "b")
    first = next(iter(expected))
    expected[first] = {**KEY, part: value}
    state = cache_state("latents", expected, manifest, [tmp_path / "0"])
    assert state.missing == state.outdated == (first,)
    assert reason in state.why


def test_a_file_without_a_record_is_encoded_again(tmp_path: Path) -> None:
    path = latents(tmp_path / "0", "a")
    state = cache_state("latents", {path: KEY}, Manifest(), [tmp_path / "0"])
    assert state.outdated == (path,)
    assert "stopped caching" in state.why


def test_a_file_that_nothing_wants_is_outdated_but_not_missing(tmp_path: Path) -> None:
    expected, manifest = settled(tmp_path, "a", "b")
    gone = list(expected)[1]
    del expected[gone]
    state = cache_state("latents", expected, manifest, [tmp_path / "0"])
    assert (state.missing, state.outdated) == ((), (gone,))


def test_captions_and_latents_do_not_touch_each_others_files(tmp_path: Path) -> None:
    _, manifest = settled(tmp_path, "a")
    state = cache_state("text", {}, manifest, [tmp_path / "0"])
    assert state.outdated == ()
    settle(CacheState("text", (tmp_path / "0",), {}, (), (), ""), tmp_path, Contents())
    assert read_manifest(tmp_path).files == manifest.files


@given(st.binary(max_size=40))
def test_a_damaged_manifest_counts_as_empty(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    manifest_path(folder).write_bytes(data)
    assert read_manifest(folder).files == {}


@pytest.mark.parametrize(
    "text",
    [
        '{"files": {"0/a_wan.safetensors": 3}, "contents": {}}',
        '{"files": {}, "contents": {"a.png": [1e999, 1, 2, "x"]}}',
        "[" * 100_000,
    ],
)
def test_a_manifest_of_other_things_counts_as_empty(tmp_path: Path, text: str) -> None:
    manifest_path(tmp_path).write_text(text, encoding="utf-8")
    assert read_manifest(tmp_path) == Manifest()


def test_a_file_put_in_the_place_of_another_is_known_by_its_caption(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    folder.mkdir()
    expected = {folder / f"{name}_wan_te.safetensors": {"caption": name} for name in "ab"}
    for path, key in expected.items():
        write(path, {"varlen_t5_bfloat16": ("BF16", (1,), b"12")}, {"caption1": key["caption"]})
    settle(cache_state("text", expected, Manifest(), [folder]), tmp_path, Contents())
    first, second = expected
    first.write_bytes(second.read_bytes())
    state = cache_state("text", expected, read_manifest(tmp_path), [folder])
    assert state.missing == (first,)
    assert "another caption" in state.why


def test_what_is_to_be_encoded_loses_its_record_before_anything_starts(tmp_path: Path) -> None:
    expected, manifest = settled(tmp_path, "a", "b", "c")
    first, second, _ = expected
    second.unlink()
    wanted = {**expected, first: {**KEY, "content": "xyz"}}
    begin(cache_state("latents", wanted, manifest, [tmp_path / "0"]), tmp_path, Contents())
    assert list(read_manifest(tmp_path).files) == ["0/c_0064x0064_wan.safetensors"]
    assert not first.exists()


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_settling_removes_a_file_cut_at_any_byte(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole, half = latents(folder / "0", "whole"), latents(folder / "0", "half")
    half.write_bytes(half.read_bytes()[: int(share * half.stat().st_size)])
    state = cache_state("latents", {whole: KEY, half: KEY}, Manifest(), [folder / "0"])
    assert settle(state, folder, Contents()) == [half]
    assert list(read_manifest(folder).files) == [f"0/{whole.name}"]
    assert not half.exists()


def test_contents_are_read_again_only_when_a_file_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    first = Contents()
    digest = first.digest(path)
    remembered = Contents({str(path): (*first.seen[str(path)][:3], "remembered")})
    assert remembered.digest(path) == "remembered"
    path.write_bytes(b"two")
    assert Contents(first.seen).digest(path) not in (digest, "remembered")


def _write_into(folder: Path) -> None:
    (folder / "2.png").write_bytes(b"another")


def _add_to(folder: Path) -> None:
    (folder / "3.png").write_bytes(b"three")


def _take_from(folder: Path) -> None:
    (folder / "1.png").unlink()


@pytest.mark.parametrize("change", [_write_into, _add_to, _take_from, shutil.rmtree])
def test_a_clip_that_is_a_folder_changes_with_its_pictures(tmp_path: Path, change: Callable[[Path], object]) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for name in ("1.png", "2.png"):
        (clip / name).write_bytes(name.encode())
    contents = Contents()
    before = contents.digest(clip)
    assert not contents.changed(clip)
    change(clip)
    assert contents.changed(clip)
    if clip.exists():
        assert Contents(contents.seen).digest(clip) != before


@pytest.mark.parametrize("size", [0, 1, 1000, 2**20, 5 * 2**20 + 3])
def test_a_weight_file_is_known_by_what_it_holds_and_not_by_its_name(tmp_path: Path, size: int) -> None:
    one, other = tmp_path / "one.pth", tmp_path / "two.pth"
    content = bytes(number * 7 % 251 for number in range(size))
    one.write_bytes(content)
    other.write_bytes(content)
    assert fingerprint(one) == fingerprint(other)
    for at in {0, size - 1} if size else ():
        other.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert fingerprint(one) != fingerprint(other)
    other.write_bytes(content + b"x")
    assert fingerprint(one) != fingerprint(other)


def test_a_manifest_written_before_is_read_and_its_weights_are_known(tmp_path: Path) -> None:
    manifest = Manifest({"0/a_wan_te.safetensors": {"caption": "x"}}, {}, {"t5.pth": "1 byte"}, frozenset({"0/b"}))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    manifest_path(tmp_path).write_text('{"files": {}, "contents": {}}', encoding="utf-8")
    assert read_manifest(tmp_path) == Manifest()
