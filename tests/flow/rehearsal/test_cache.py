"""Cache files: musubi-tuner's names, keys and metadata, and its habits with files that are already there."""

from __future__ import annotations

import json
from pathlib import Path

from wan22lora.musubi.safetensors import Header, read_header

from .bench import SIZES, Bench


def headers(bench: Bench, ending: str) -> dict[str, Header]:
    return {path.name: read_header(path) for path in sorted(bench.cache.glob(f"*{ending}.safetensors"))}


def changed(bench: Bench) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in bench.cache.iterdir()}


def test_latents_carry_the_size_of_the_picture_in_the_name_and_of_the_bucket_in_the_key(cached: Bench) -> None:
    found = headers(cached, "_wan")
    assert list(found) == [f"a{i}_{width:04d}x{height:04d}_wan.safetensors" for i, (width, height) in enumerate(SIZES)]
    tall, square = found["a0_0096x0128_wan.safetensors"], found["a2_0128x0128_wan.safetensors"]
    assert list(tall.tensors) == ["latents_1x14x10_bfloat16"]
    assert list(square.tensors) == ["latents_1x12x12_bfloat16"]
    assert square.tensors["latents_1x12x12_bfloat16"].dtype == "BF16"
    assert dict(tall.metadata) == {
        "architecture": "wan",
        "format_version": "1.0.1",
        "width": "96",
        "height": "128",
        "wan22lora_rehearsal": "nothing was trained",
    }


def test_captions_are_recorded(cached: Bench) -> None:
    found = headers(cached, "_wan_te")
    assert {header.metadata["caption1"] for header in found.values()} == {f"caption {i}" for i in range(6)}
    assert all(list(header.tensors) == ["varlen_t5_bfloat16"] for header in found.values())


def test_image_to_video_adds_the_image(bench: Bench) -> None:
    bench.cache_latents("--i2v", "--vae_dtype", "fp16")
    keys = list(headers(bench, "_wan")["a2_0128x0128_wan.safetensors"].tensors)
    assert keys == ["latents_1x12x12_float16", "latents_image_1x12x12_float16"]


def test_existing_files_are_skipped_by_name_only(cached: Bench) -> None:
    before = changed(cached)
    (cached.pictures / "a0.txt").write_text("another caption")
    cached.write_config(resolution="[64, 64]")
    assert cached.cache_latents().returncode == 0
    assert cached.cache_text().returncode == 0
    assert changed(cached) == before


def test_without_skipping_everything_is_written_again_and_a_new_caption_is_noticed(cached: Bench) -> None:
    before = changed(cached)
    (cached.pictures / "a0.txt").write_text("another caption")
    argv = cached.argv("wan_cache_text_encoder_outputs", "--dataset_config", cached.config, "--t5", "t5.pth")
    done = cached.run(argv)
    assert "caption mismatch: existing=caption 0, new=another caption, overwrite" in done.stderr
    after = changed(cached)
    assert sum(after[name] != before[name] for name in before) == 6


def test_files_that_belong_to_no_item_are_removed_unless_asked_to_stay(cached: Bench) -> None:
    for suffix in ("png", "txt"):
        (cached.pictures / f"a5.{suffix}").unlink()
    done = cached.cache_latents("--keep_cache")
    assert "Keep cache file not in the dataset:" in done.stderr
    assert (cached.cache / "a5_0176x0128_wan.safetensors").exists()
    done = cached.cache_latents()
    assert "Removed old cache file:" in done.stderr
    assert not (cached.cache / "a5_0176x0128_wan.safetensors").exists()
    assert (cached.cache / "a5_wan_te.safetensors").exists()
    cached.cache_text()
    assert not (cached.cache / "a5_wan_te.safetensors").exists()


def test_nothing_found_is_a_success(bench: Bench) -> None:
    bench.write_config(image_directory=f'"{(bench.folder / "elsewhere").as_posix()}"')
    for done in (bench.cache_latents(), bench.cache_text()):
        assert done.returncode == 0
        assert "found 0 images" in done.stderr
        assert "\r0it [00:00, ?it/s]\r0it [00:00, ?it/s]\n" in done.stderr
    assert not bench.cache.exists()


def test_a_picture_without_caption_is_left_out_or_stops_the_older_pin(bench: Bench) -> None:
    bench.add_picture("b", caption=None)
    done = bench.cache_latents()
    assert done.returncode == 0
    assert "found 6 images" in done.stderr
    done = bench.cache_latents(WAN22LORA_PIN="article")
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    assert "b.txt" in done.stderr


def test_a_damaged_picture_stops_the_caching(bench: Bench) -> None:
    (bench.pictures / "a3.png").write_bytes(b"no picture")
    done = bench.cache_latents()
    assert done.returncode == 1
    assert "PIL.UnidentifiedImageError: cannot identify image file" in done.stderr


def test_a_caption_extension_is_needed(bench: Bench) -> None:
    bench.config.write_text(bench.config.read_text().replace('caption_extension = ".txt"\n', ""))
    done = bench.cache_text()
    assert done.returncode == 1
    assert "FileNotFoundError: [Errno 2] No such file or directory: ''" in done.stderr


def test_a_jsonl_file_lists_pictures(bench: Bench) -> None:
    listing = bench.folder / "list.jsonl"
    lines = [{"image_path": str(bench.pictures / f"a{i}.png"), "caption": f" line {i} "} for i in range(2)]
    listing.write_text("".join(json.dumps(line) + "\n" for line in lines))
    bench.write_config()
    table = bench.config.read_text().splitlines()
    table[1] = f'image_jsonl_file = "{listing.as_posix()}"'
    bench.config.write_text("\n".join(table))
    assert bench.cache_latents().returncode == 0
    assert bench.cache_text().returncode == 0
    assert [header.metadata["caption1"] for header in headers(bench, "_wan_te").values()] == [" line 0 ", " line 1 "]


def test_clips_are_cut_into_windows(bench: Bench) -> None:
    bench.pictures.mkdir(exist_ok=True)
    write_clip(bench.pictures / "clip.mp4", frames=20)
    (bench.pictures / "clip.txt").write_text("a clip")
    bench.write_config(kind="video", target_frames="[1, 9]", frame_extraction='"chunk"')
    assert bench.cache_latents().returncode == 0
    found = headers(bench, "_wan")
    assert "clip_00009-009_0096x0096_wan.safetensors" in found
    window = found["clip_00009-009_0096x0096_wan.safetensors"]
    assert list(window.tensors) == ["latents_3x12x12_bfloat16"]
    assert window.metadata["frame_count"] == "9"
    assert window.metadata["width"] == "96"
    assert len(found) == 20 + 2


def write_clip(path: Path, *, frames: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
