"""No key of run.yaml without effect: each one, set to something else, changes just what its documentation says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from wan22lora.plan.model import Step
from wan22lora.plan.prepared import Prepared
from wan22lora.spec.model import DataSettings, TrainSettings

Make = Callable[..., Prepared]
BASE = "name: paper\npreset: style\nimages: ./pictures\ntrigger: paperworld\n"
CLIPS = "name: paper\npreset: motion\nvideos: ./pictures\n"

# key, a value, what else the value needs, the option and its words
TRAIN: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "gradient_checkpointing": (False, {}, ()),
    "gradient_checkpointing_cpu_offload": (True, {}, ("--gradient_checkpointing_cpu_offload",)),
    "blocks_to_swap": (7, {}, ("--blocks_to_swap", "7")),
    "learning_rate": (1e-4, {}, ("--learning_rate", "1e-4")),
    "optimizer": ("torch.optim.RAdam", {}, ("--optimizer_type", "torch.optim.RAdam")),
    "optimizer_args": (
        {"betas": [0.9, 0.99], "fused": True, "mode": "a b"},
        {},
        ("--optimizer_args", "betas=[0.9, 0.99]", "fused=True", "mode='a b'"),
    ),
    "lr_scheduler": ("cosine", {}, ("--lr_scheduler", "cosine")),
    "lr_scheduler_power": (3, {}, ("--lr_scheduler_power", "3")),
    "lr_scheduler_min_lr_ratio": (0.2, {"lr_scheduler": "rex"}, ("--lr_scheduler_min_lr_ratio", "0.2")),
    "lr_scheduler_num_cycles": (4, {"lr_scheduler": "cosine_with_restarts"}, ("--lr_scheduler_num_cycles", "4")),
    "lr_scheduler_args": ({"lr_end": 1e-5}, {}, ("--lr_scheduler_args", "lr_end=1e-5")),
    "lr_warmup_steps": ("5%", {}, ("--lr_warmup_steps", "5%")),
    "lr_decay_steps": (0.2, {"lr_scheduler": "warmup_stable_decay"}, ("--lr_decay_steps", "0.2")),
    "rank": (8, {}, ("--network_dim", "8")),
    "alpha": (4, {}, ("--network_alpha", "4")),
    "network_dropout": (0.1, {}, ("--network_dropout", "0.1")),
    "network_args": ({"loraplus_lr_ratio": 4}, {}, ("--network_args", "loraplus_lr_ratio=4")),
    "network_weights": ("/old lora.safetensors", {}, ("--network_weights", "/old lora.safetensors")),
    "epochs": (9, {}, ("--max_train_epochs", "9")),
    "steps": (90, {}, ("--max_train_steps", "90")),
    "gradient_accumulation": (2, {}, ("--gradient_accumulation_steps", "2")),
    "max_grad_norm": (0.5, {}, ("--max_grad_norm", "0.5")),
    "seed": (9, {}, ("--seed", "9")),
    "timestep_sampling": ("sigmoid", {}, ("--timestep_sampling", "sigmoid")),
    "timestep_shift": (3.5, {}, ("--discrete_flow_shift", "3.5")),
    "sigmoid_scale": (1.5, {}, ("--sigmoid_scale", "1.5")),
    "preserve_distribution_shape": (False, {}, ()),
    "timestep_range": ([870, 880], {}, ("--min_timestep", "870")),
    "save_every_epochs": (7, {}, ("--save_every_n_epochs", "7")),
    "save_every_steps": (70, {}, ("--save_every_n_steps", "70")),
    "keep_last_epochs": (3, {"save_every_epochs": 20}, ("--save_last_n_epochs", "3")),
    "keep_last_steps": (300, {"save_every_steps": 70}, ("--save_last_n_steps", "300")),
    "save_state": (True, {}, ("--save_state",)),
    "save_precision": ("bf16", {}, ("--save_precision", "bf16")),
    "mixed_precision": ("bf16", {"checkpoint": "/other dit.safetensors"}, ("--mixed_precision", "bf16")),
    "fp8_base": (False, {}, ()),
    "fp8_scaled": (True, {}, ("--fp8_scaled",)),
    "attention": ("flash", {}, ("--flash_attn",)),
    "data_loader_workers": (5, {}, ("--max_data_loader_n_workers", "5")),
    "preservation": (
        {"class": "person", "weight": 0.5, "every": 3},
        {},
        (
            *("--preservation_weight", "0.5", "--preservation_every", "3"),
            *("--preservation_folder", "class-38a81e87"),
        ),
    ),
    "ema": ({"decay": 0.99}, {}, ("--ema_decay", "0.99")),
    "states": (
        {"every_minutes": 2.5, "every_steps": 40, "keep_last": 3},
        {},
        ("--states_every_minutes", "2.5", "--states_every_steps", "40", "--states_keep_last", "3"),
    ),
    "max_nan_steps": (7, {}, ("--max_nan_steps", "7")),
    "checkpoint": ("/other dit.safetensors", {}, ("--dit", "/other dit.safetensors")),
    "output_name": ("-dash", {}, ("--output_name=-dash",)),
    "title": ("-- a title", {}, ("--metadata_title=-- a title",)),
    "author": ("Ann O'Nym", {}, ("--metadata_author", "Ann O'Nym")),
}
OF_ONE_EXPERT = ("checkpoint", "output_name", "timestep_range", "mixed_precision")
GOES_AWAY = {
    "gradient_checkpointing": "--gradient_checkpointing",
    "preserve_distribution_shape": "--preserve_distribution_shape",
    "fp8_base": "--fp8_base",
}
DATA: dict[str, tuple[Any, dict[str, Any], str]] = {
    "resolution": ([640, 384], {}, "resolution"),
    "batch_size": (3, {}, "batch_size"),
    "repeats": (2, {}, "num_repeats"),
    "caption_extension": (".caption", {}, "caption_extension"),
    "bucket": (False, {"resolution": 960}, "enable_bucket"),
    "bucket_no_upscale": (True, {}, "bucket_no_upscale"),
    "frames": ([17, 33], {}, "target_frames"),
    "frame_extraction": ("chunk", {}, "frame_extraction"),
    "frame_stride": (3, {"frame_extraction": "slide"}, "frame_stride"),
    "frame_sample": (3, {"frame_extraction": "uniform"}, "frame_sample"),
    "max_frames": (33, {"frame_extraction": "full"}, "max_frames"),
    "source_fps": (24, {}, "source_fps"),
}


def test_the_tables_name_every_key() -> None:
    assert set(TRAIN) == set(TrainSettings.model_fields)
    assert set(DATA) == set(DataSettings.model_fields)


@pytest.mark.parametrize("key", TRAIN)
def test_a_key_of_an_expert_reaches_that_expert_and_nothing_else(plan: Make, key: str) -> None:
    value, needs, words = TRAIN[key]
    before = plan(f"{BASE}experts: {{high: {json.dumps(needs)}}}\n").plan.steps
    after = plan(f"{BASE}experts: {{high: {json.dumps({**needs, key: value})}}}\n").plan.steps
    (old_high, old_low), (high, low) = trainings(before), trainings(after)
    assert low.argv == old_low.argv
    assert high.argv != old_high.argv
    assert contains(high.argv, words)
    assert GOES_AWAY.get(key) not in high.argv


@pytest.mark.parametrize("key", [key for key in TRAIN if key not in OF_ONE_EXPERT])
def test_a_key_of_train_reaches_both_experts(plan: Make, key: str) -> None:
    value, needs, words = TRAIN[key]
    for step in trainings(plan(f"{BASE}train: {json.dumps({**needs, key: value})}\n").plan.steps):
        assert contains(step.argv, words)
        assert GOES_AWAY.get(key) not in step.argv


@pytest.mark.parametrize("key", DATA)
def test_a_key_of_data_reaches_dataset_toml(plan: Make, key: str) -> None:
    value, needs, name = DATA[key]
    text = f"{CLIPS}data: {json.dumps({'resolution': 64, 'source_fps': 'as-is', **needs, key: value})}\n"
    (table,) = tomllib.loads(plan(text).plan.files[0].content)["datasets"]
    assert table[name] == value


def trainings(steps: Sequence[Step]) -> tuple[Step, Step]:
    high, low = (step for step in steps if step.id.startswith("train"))
    return high, low


def contains(argv: Sequence[str], words: Sequence[str]) -> bool:
    """Whether `words` stand together in `argv`."""
    width = len(words)
    return any(tuple(argv[at : at + width]) == tuple(words) for at in range(len(argv) - width + 1))
