"""dataset.toml is read as strictly as musubi-tuner reads it, by every program."""

from __future__ import annotations

import pytest

from .bench import Bench


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subsets": "[]"}, "extra keys not allowed @ data['datasets'][0]['subsets']"),
        ({"batch_size": '"2"'}, "expected int for dictionary value @ data['datasets'][0]['batch_size']"),
        ({"enable_bucket": "1"}, "expected bool for dictionary value @ data['datasets'][0]['enable_bucket']"),
        ({"resolution": "[96]"}, "expected int for dictionary value @ data['datasets'][0]['resolution']"),
        ({"target_frames": "[1]"}, "extra keys not allowed @ data['datasets'][0]['target_frames']"),
    ],
)
def test_an_unknown_key_or_a_wrong_type_stops_the_program(bench: Bench, change: dict[str, str], message: str) -> None:
    bench.write_config(**change)
    for done in (bench.cache_latents(), bench.cache_text(), bench.train()):
        assert done.returncode == 1
        assert done.stderr.rstrip().endswith(f"voluptuous.error.MultipleInvalid: {message}")
        assert "Invalid user config / ユーザ設定の形式が正しくないようです" in done.stderr


def test_a_rate_must_be_written_as_a_float(bench: Bench) -> None:
    bench.write_config(kind="video", source_fps="16")
    place = "data['datasets'][0]['source_fps']"
    assert f"expected float for dictionary value @ {place}" in bench.cache_latents().stderr


def test_a_key_of_one_pin_is_unknown_to_the_other(bench: Bench) -> None:
    bench.write_config(multiple_target="false")
    assert bench.cache_latents().returncode == 0
    done = bench.cache_latents(WAN22LORA_PIN="article")
    assert "extra keys not allowed @ data['datasets'][0]['multiple_target']" in done.stderr


def test_datasets_must_not_share_a_cache_folder(bench: Bench) -> None:
    text = bench.config.read_text(encoding="utf-8")
    bench.config.write_text(text + text, encoding="utf-8")
    done = bench.cache_text()
    assert done.returncode == 1
    assert "ValueError: cache directory should be unique for each dataset" in done.stderr


def test_the_file_must_exist_and_end_in_toml(bench: Bench) -> None:
    bench.config.rename(bench.folder / "dataset.tml")
    assert "ValueError: file not found / ファイルが見つかりません" in bench.cache_latents().stderr
    done = bench.run(bench.argv("wan_cache_latents", "--dataset_config", "dataset.tml", "--vae", "vae"))
    assert "ValueError: not supported config file format" in done.stderr


def test_values_come_from_the_dataset_then_general_then_options_then_defaults(bench: Bench) -> None:
    bench.write_config("[general]", "num_repeats = 3", "resolution = 64")
    done = bench.cache_latents("--batch_size", "2")
    for line in ("  num_repeats: 3\n", "  resolution: (96, 96)\n", "  batch_size: 2\n", "  bucket_no_upscale: False\n"):
        assert line in done.stderr
