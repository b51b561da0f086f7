from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wan22lora.musubi import log_events as events
from wan22lora.musubi.log_lines import MAX_LINE, LineSplitter, parse

BAR = "steps:  33%|███▎      | 12/36 [00:34<01:10,  2.94s/it, avr_loss=0.0796]"
OUTPUT = (
    "INFO:musubi_tuner.wan.modules.model:Detected DiT dtype: torch.float16\n"
    "running training / 学習開始\r\n"
    "  total optimization steps / 学習ステップ数: 36\n"
    "\rsteps:   0%|          | 0/36 [00:00<?, ?it/s]INFO:musubi_tuner.training.trainer_base:DiT dtype: torch.float16\n"
    "\n\nepoch 1/3\n"
    f"\r{BAR}   \r{BAR}INFO:musubi_tuner.dataset.cache_io:epoch is incremented. current_epoch: 0, epoch: 1\n"
    "\r0it [00:00, ?it/s]/x/wan_cache_latents.py:43: UserWarning: In CPU autocast\n\r1it [00:01,  1.01s/it]\x1b[A\n"
)


def split(data: bytes, sizes: list[int] | None = None) -> list[str]:
    splitter = LineSplitter()
    lines: list[str] = []
    for size in sizes or []:
        lines += splitter.feed(data[:size])
        data = data[size:]
    return lines + splitter.feed(data) + splitter.close()


def test_output_becomes_one_line_per_record_and_per_state_of_a_bar() -> None:
    assert split(OUTPUT.encode()) == [
        "INFO:musubi_tuner.wan.modules.model:Detected DiT dtype: torch.float16",
        "running training / 学習開始",
        "  total optimization steps / 学習ステップ数: 36",
        "steps:   0%|          | 0/36 [00:00<?, ?it/s]",
        "INFO:musubi_tuner.training.trainer_base:DiT dtype: torch.float16",
        "epoch 1/3",
        BAR,
        BAR,
        "INFO:musubi_tuner.dataset.cache_io:epoch is incremented. current_epoch: 0, epoch: 1",
        "0it [00:00, ?it/s]",
        "/x/wan_cache_latents.py:43: UserWarning: In CPU autocast",
        "1it [00:01,  1.01s/it]",
    ]


def test_a_bar_is_handed_on_before_its_line_ends() -> None:
    splitter = LineSplitter()
    assert splitter.feed(f"\r{BAR[:-1]}".encode()) == []
    assert splitter.feed(b"]") == [BAR]
    assert splitter.feed(b"INFO:a:b") == []
    assert splitter.close() == ["INFO:a:b"]


def test_brackets_outside_bars_end_nothing() -> None:
    line = "INFO:a:Loading model files: ['x'] and [Dataset 0] 50% done | 1/2 [y]"
    assert split(line.encode()) == [line]


def test_broken_bytes_are_replaced_and_the_rest_survives() -> None:
    assert split("学".encode()[:2] + b"\nok") == ["\ufffd", "ok"]
    assert split(b"end \xe5\xad") == ["end \ufffd"]


def test_an_endless_line_is_broken() -> None:
    assert [len(line) for line in split(b"x" * (MAX_LINE + 10))] == [MAX_LINE, 10]


@given(st.lists(st.integers(min_value=0, max_value=40)))
@example([1] * len(OUTPUT.encode()))
def test_lines_do_not_depend_on_how_real_output_is_cut(sizes: list[int]) -> None:
    assert split(OUTPUT.encode(), sizes) == split(OUTPUT.encode())


@given(
    st.lists(st.sampled_from([*"\r\n]|:% x学", "12/36 [", "steps:", "3it [", BAR, "\x1b[A", "\ufffd"])).map("".join),
    st.lists(st.integers(min_value=0, max_value=5)),
)
def test_lines_do_not_depend_on_how_any_output_is_cut(text: str, sizes: list[int]) -> None:
    lines = split(text.encode(), sizes)
    assert lines == split(text.encode())
    assert all(line.strip() and not set(line) & set("\r\n") for line in lines)


@given(st.binary(max_size=60), st.lists(st.integers(min_value=0, max_value=5)))
def test_any_bytes_split_alike_in_any_pieces(data: bytes, sizes: list[int]) -> None:
    assert split(data, sizes) == split(data)


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (BAR, events.TrainStep(12, 36, 0.0796)),
        ("steps:   0%|          | 0/18 [00:00<?, ?it/s]", events.TrainStep(0, 18, None)),
        ("steps: 100%|██████████| 18/18 [00:00<00:00, 31.34it/s, avr_loss=2]", events.TrainStep(18, 18, 2.0)),
        ("steps:   6%|▌ | 1/18 [00:00<00:09,  1.84it/s, avr_loss=1e-5]", events.TrainStep(1, 18, 1e-5)),
        (
            "steps:   6%|▌ | 1/18 [00:01<00:09, 1.8it/s, Keys Scaled=0, Average key norm=0.1, avr_loss=0.5]",
            events.TrainStep(1, 18, 0.5),
        ),
        (
            "Sampling timesteps for prompt 1:  10%|█         | 2/20 [00:03<00:30,  1.70s/it]",
            events.Progress("Sampling timesteps for prompt 1", 2, 20),
        ),
        ("Loading x.safetensors:  17%|█▋  | 12/69 [00:00<?, ?key/s]", events.Progress("Loading x.safetensors", 12, 69)),
        (" 25%|██▌       | 1/4 [00:00<00:00,  5.21it/s]", events.Progress("", 1, 4)),
        ("12it [00:34,  2.84s/it]", events.CacheProgress(12)),
        ("0it [00:00, ?it/s]", events.CacheProgress(0)),
        ("INFO:musubi_tuner.cache_latents:Encoding dataset [1]", events.EncodingDataset(1)),
        ("INFO:musubi_tuner.dataset.datasources:found 6 images", events.PicturesFound(6)),
        ("INFO:musubi_tuner.dataset.datasources:loaded 4 videos", events.PicturesFound(4)),
        ("INFO:musubi_tuner.cache_latents:Removed old cache file: /c/a b_wan.safetensors",
         events.CacheFileRemoved(Path("/c/a b_wan.safetensors"))),
        ("WARNING:musubi_tuner.dataset.cache_io:Text encoder output cache file not found: /c/a_wan_te.safetensors",
         events.TextCacheMissing(Path("/c/a_wan_te.safetensors"))),
        ("WARNING:musubi_tuner.dataset.cache_io:latents_1x8x8_float32 tensor has NaN: /d/a.png, replace NaN with 0",
         events.NanReplaced("/d/a.png")),
        ("INFO:musubi_tuner.dataset.bucket:bucket: (960, 928, 9), count: 18", events.BucketInfo(960, 928, 9, 18)),
        ("INFO:musubi_tuner.dataset.bucket:bucket: (832, 480), count: 2", events.BucketInfo(832, 480, None, 2)),
        ("INFO:musubi_tuner.dataset.bucket:total batches: 18", events.TotalBatches(18)),
        ("INFO:musubi_tuner.wan.modules.model:Detected DiT dtype: torch.float8_e4m3fn",
         events.DtypeDetected("float8_e4m3fn")),
        ("accelerator device: cuda", events.Device("cuda")),
        ("INFO:musubi_tuner.wan.modules.model:Loading DiT model from /m/x.safetensors, device=cuda",
         events.LoadingModel(Path("/m/x.safetensors"))),
        ("INFO:__main__:Loading T5: /m/t5.pth", events.LoadingModel(Path("/m/t5.pth"))),
        ("INFO:__main__:Loading VAE model from vae.safetensors", events.LoadingModel(Path("vae.safetensors"))),
        ("INFO:musubi_tuner.networks.lora:create LoRA for U-Net/DiT: 400 modules.", events.ModulesCreated(400)),
        ("INFO:musubi_tuner.training.trainer_base:resume training from local state: o/t-state",
         events.ResumedFrom(Path("o/t-state"))),
        ("running training / 学習開始", events.TrainingStarted()),
        ("  num train items / 学習画像、動画数: 6", events.TrainItems(6)),
        ("  num batches per epoch / 1epochのバッチ数: 7", events.BatchesPerEpoch(7)),
        ("  num epochs / epoch数: 3", events.Epochs(3)),
        ("  total optimization steps / 学習ステップ数: 18", events.TotalSteps(18)),
        ("epoch 2/3", events.EpochStarted(2, 3)),
        ("saving checkpoint: o/t-000002.safetensors", events.CheckpointSaved(Path("o/t-000002.safetensors"))),
        ("removing old checkpoint: o/t-000001.safetensors", events.CheckpointRemoved(Path("o/t-000001.safetensors"))),
        ("INFO:musubi_tuner.utils.train_utils:saving state at epoch 2", events.StateSaved(epoch=2)),
        ("INFO:musubi_tuner.utils.train_utils:saving state at step 500", events.StateSaved(step=500)),
        ("INFO:musubi_tuner.utils.train_utils:saving last state.", events.StateSaved()),
        ("INFO:musubi_tuner.utils.train_utils:removing old state: o/t-000001-state",
         events.StateRemoved(Path("o/t-000001-state"))),
        ("INFO:x:generating sample images at step / サンプル画像生成 ステップ: 100", events.SamplingStarted(100)),
        ("INFO:musubi_tuner.training.trainer_base:model saved.", events.ModelSaved()),
        ("INFO:musubi_tuner.hv_train_network:model saved.", events.ModelSaved()),
        ("WARNING:musubi_tuner.dataset.image_video_dataset:target_frames are rounded to [17]",
         events.WarningLine("musubi_tuner.dataset.image_video_dataset", "target_frames are rounded to [17]")),
        ("/x/y.py:43: UserWarning: In CPU autocast", events.WarningLine("UserWarning", "In CPU autocast")),
        ("ERROR:musubi_tuner.networks.lora:No LoRA modules.",
         events.ErrorLine("musubi_tuner.networks.lora", "No LoRA modules.")),
    ],
)  # fmt: skip
def test_lines_that_musubi_prints_are_understood(line: str, event: events.Event) -> None:
    assert parse(line) == event


@pytest.mark.parametrize(
    "line",
    [
        "Trying to import sageattention",
        "INFO:musubi_tuner.dataset.datasources:found 4 images with arbitrary control images per image in JSONL data",
        "INFO:musubi_tuner.dataset.cache_io:epoch is incremented. current_epoch: 1, epoch: 2",
        "override steps. steps for 3 epochs is / 指定エポックまでのステップ数: 18",
        "a prompt about epoch 1/3 of history",
        "steps: 12/36",
    ],
)
def test_other_lines_tell_nothing(line: str) -> None:
    assert parse(line) is None


def test_a_loss_of_nan_is_told_as_such() -> None:
    event = parse("steps:  33%|███▎      | 12/36 [00:34<01:10,  2.94s/it, avr_loss=nan]")
    assert isinstance(event, events.TrainStep)
    assert event.loss is not None
    assert math.isnan(event.loss)


@given(st.text())
def test_no_line_is_too_odd_to_be_looked_at(line: str) -> None:
    parse(line)
