from __future__ import annotations

import re

import pytest

from wan22lora.doctor.needs import RAM_TEXT
from wan22lora.musubi.diagnoses import (
    KNOWN_FAILURES,
    diagnose,
    error_line,
    ran_out_of_gpu_memory,
    without_launcher,
)
from wan22lora.musubi.failures_of_machine import RAM_TAKEN
from wan22lora.plan.loading_ram import RAM_SWAPPING, RAM_SWAPPING_PLAIN

TRAIN, LATENTS, TEXT = "wan_train_network", "wan_cache_latents", "wan_cache_text_encoder_outputs"
LOADING = ["INFO:musubi_tuner.training.trainer_base:Loading DiT model from /models/high.safetensors"]
STARTED = [*LOADING, "running training / 学習開始", "steps:   0%|          | 0/1800 [00:00<?, ?it/s]"]
TRAINING = [*STARTED, "steps:   1%|          | 12/1800 [00:34<01:10,  2.94s/it, avr_loss=0.123]"]
CLOSED_BAR = "steps:   1%|          | 12/1800 [00:34<01:10,  2.94s/it, avr_loss=0.123]"
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 134.00 MiB. GPU 0 has a total capacity of 23.53 GiB "
    "of which 57.31 MiB is free. Including non-PyTorch memory, this process has 23.46 GiB memory in use."
)


def traceback(*frames: str, error: str) -> list[str]:
    """As Python prints it: file:function of each frame, with its line of source code and a row of carets."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        file, _, function = frame.partition(":")
        lines += [
            f'  File "/musubi/src/musubi_tuner/{file}.py", line 12, in {function}',
            "    something(that) or raise_(MemoryError, f'{path} No LoRA modules found')",
            "    ^^^^^^^^^^^^^^^",
        ]
    return [*lines, error]


def state_dict_error(model: str, what: str) -> list[str]:
    frame = "wan/modules/model:load_wan_model"
    return [*traceback(frame, error=f"RuntimeError: Error(s) in loading state_dict for {model}:"), f"\t{what}"]


def mismatch(key: str, file: str, model: str) -> str:
    return (
        f"size mismatch for {key}: copying a param with shape torch.Size([{file}]) from checkpoint, "
        f"the shape in current model is torch.Size([{model}])."
    )


CASES: list[tuple[str, str, list[str]]] = [
    # weights
    ("wrong-mixed-precision", TRAIN, traceback(
        "wan_train_network:handle_model_specific_args",
        error="AssertionError: DiT weights are in fp16, mixed precision must be fp16 or no")),
    ("already-fp8", TRAIN, traceback(
        "wan_train_network:handle_model_specific_args",
        error="ValueError: DiT weights is already in fp8 format, cannot scale to fp8. Please use fp16/bf16 weights")),
    ("already-fp8", TRAIN, traceback(
        "modules/fp8_optimization_utils:load",
        error="ValueError: Layer blocks.0.ffn.0.weight is already in torch.float8_e4m3fn format. `--fp8_scaled` …")),
    ("wrong-t5", TEXT, state_dict_error(
        "T5Encoder", 'Missing key(s) in state_dict: "token_embedding.weight", "blocks.0.norm1.weight". ')),
    ("wrong-t5", TEXT, state_dict_error(
        "T5Encoder", 'Unexpected key(s) in state_dict: "scaled_fp8", "block.0.layer.0.SelfAttention.k.weight". ')),
    ("vae-of-the-5b-model", LATENTS, state_dict_error(
        "WanVAE_", mismatch("encoder.conv1.weight", "160, 12, 3, 3, 3", "96, 3, 3, 3, 3"))),
    ("wrong-vae", LATENTS, state_dict_error("WanVAE_", 'Missing key(s) in state_dict: "conv1.weight". ')),
    ("wrong-vae", LATENTS, traceback(
        "wan/modules/vae:__init__",
        error="NotImplementedError: Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty()")),
    ("fp8-scaled-file", TRAIN, state_dict_error(
        "WanModel", 'Unexpected key(s) in state_dict: "scaled_fp8", "blocks.0.cross_attn.k.scale_weight". ')),
    ("not-wan21-image-to-video-weights", TRAIN, state_dict_error(
        "WanModel", 'Missing key(s) in state_dict: "blocks.0.cross_attn.k_img.weight", "img_emb.proj.0.weight". ')),
    ("wan21-image-to-video-weights", TRAIN, state_dict_error(
        "WanModel", 'Unexpected key(s) in state_dict: "blocks.0.cross_attn.k_img.weight". ')),
    ("weights-of-another-task", TRAIN, state_dict_error(
        "WanModel", mismatch("patch_embedding.weight", "5120, 36, 1, 2, 2", "5120, 16, 1, 2, 2"))),
    ("wrong-model", TRAIN, state_dict_error("WanModel", 'Missing key(s) in state_dict: "blocks.30.norm3.weight". ')),
    ("not-a-wan-model", TRAIN, traceback(
        "wan/modules/model:detect_wan_sd_dtype",
        error="ValueError: Could not find the dtype in the model weights: /models/high.safetensors")),
    ("shard-missing", TRAIN, traceback(
        "utils/safetensors_utils:get_split_weight_filenames",
        error="FileNotFoundError: File /models/x-00002-of-00006.safetensors not found")),
    ("damaged-weights", TRAIN, traceback("utils/safetensors_utils:_read_header", error="MemoryError")),
    ("damaged-weights", TRAIN, traceback(
        "utils/safetensors_utils:_read_header", "json/decoder:raw_decode",
        error="json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)")),
    ("damaged-weights", TRAIN, traceback(
        "utils/safetensors_utils:_deserialize_tensor",
        error="RuntimeError: shape '[5120, 5120]' is invalid for input of size 6566")),
    ("damaged-weights", LATENTS, traceback(
        "wan/modules/vae:_video_vae",
        error="safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge")),
    ("damaged-weights", TEXT, ["_pickle.UnpicklingError: invalid load key, '<'."]),
    # caches
    ("damaged-cache", TRAIN, traceback(
        "dataset/bucket:__getitem__", "safetensors/torch:load_file",
        error="safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer")),
    ("damaged-cache", TRAIN, [
        "_pickle.PicklingError: Can't pickle <class 'safetensors_rust.SafetensorError'>: import of module "
        "'safetensors_rust' failed"]),
    ("caches-not-for-image-to-video", TRAIN, [
        *STARTED, *traceback("wan_train_network:_call_dit", error="KeyError: 'latents_image'"), STARTED[-1]]),
    ("captions-not-cached", TRAIN, [
        "WARNING:musubi_tuner.dataset.cache_io:Text encoder output cache file not found: /c/a_wan_te.safetensors",
        *traceback("training/trainer_base:_build_dataset",
                   error="ValueError: No training items found in the dataset. Please ensure that the latent …")]),
    ("no-training-items", TRAIN, traceback(
        "training/trainer_base:_build_dataset", error="ValueError: No training items found in the dataset / デ")),
    ("stranger-in-cache", TRAIN, traceback(
        "dataset/image_video_dataset:prepare_for_training",
        error="ValueError: invalid literal for int() with base 10: 'style'")),
    ("cache-sizes-differ", TRAIN, [
        *STARTED, *traceback("dataset/bucket:__getitem__", error=(
            "RuntimeError: stack expects each tensor to be equal size, but got [16, 1, 8, 10] at entry 0 and …"))]),
    # dataset
    ("caption-extension-missing", LATENTS, traceback(
        "dataset/datasources:get_caption", error="FileNotFoundError: [Errno 2] No such file or directory: ''")),
    ("caption-missing", LATENTS, traceback(
        "dataset/datasources:get_caption", error="FileNotFoundError: [Errno 2] No such file or directory: '/d/a.txt'")),
    ("caption-not-utf8", TEXT, traceback(
        "dataset/datasources:get_caption", "codecs:decode",
        error="UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte")),
    ("damaged-picture", LATENTS, ["PIL.UnidentifiedImageError: cannot identify image file '/d/a.png'"]),
    ("damaged-picture", LATENTS, ["OSError: image file is truncated (12 bytes not processed)"]),
    ("picture-too-small", LATENTS, ["ValueError: Image or video size too small: /d/a.png and 0 more, size: (4, 4)"]),
    ("cache-folders-not-unique", LATENTS, ["ValueError: cache directory should be unique for each dataset (note …"]),
    ("dataset-toml-refused", LATENTS, [
        "ERROR:musubi_tuner.dataset.config_utils:Invalid user config / ユーザ設定の形式が正しくないようです",
        "voluptuous.error.MultipleInvalid: extra keys not allowed @ data['datasets'][0]['frames']"]),
    ("dataset-toml-refused", LATENTS, [
        "voluptuous.error.MultipleInvalid: expected float for dictionary value @ data['datasets'][0]['source_fps']"]),
    ("file-missing", TRAIN, traceback(
        "utils/safetensors_utils:__init__",
        error="FileNotFoundError: [Errno 2] No such file or directory: '/models/high.safetensors'")),
    # settings
    ("option-refused", TRAIN, [
        "usage: wan_train_network.py [-h] [--config_file CONFIG_FILE]",
        "wan_train_network.py: error: unrecognized arguments: --save_precision bf16"]),
    ("no-lora-modules", TRAIN, [*LOADING, "ValueError: optimizer got an empty parameter list"]),
    ("no-lora-modules", TRAIN, [*LOADING, "RuntimeError: No LoRA modules found"]),
    ("network-weights-of-another-rank", TRAIN, state_dict_error(
        "LoRANetwork", mismatch("lora_unet_blocks_0_cross_attn_k.lora_down.weight", "32, 5120", "16, 5120"))),
    ("too-many-blocks-to-swap", TRAIN, [
        "AssertionError: Cannot swap more than 39 blocks. Requested 40 blocks to swap."]),
    ("swap-without-checkpointing", TRAIN, [
        "ValueError: --block_swap_h2d_only requires --gradient_checkpointing for training. H2D-only block swap …"]),
    ("joint-mode-options", TRAIN, ["AssertionError: Block swap is not supported with offloading inactive DiT / 非"]),
    ("fp8-scaled-without-base", TRAIN, ["AssertionError: fp8_scaled requires fp8_base / fp8_scaledは"]),
    ("attention-missing", TRAIN, [
        "ValueError: either --sdpa, --flash-attn, --flash3, --sage-attn or --xformers must be specified / --sdpa …"]),
    ("attention-cannot-train", TRAIN, ["ValueError: SageAttention doesn't support training currently. Please use …"]),
    ("persistent-workers-without-workers", TRAIN, ["ValueError: persistent_workers option needs num_workers > 0"]),
    ("warmup-without-warmup-scheduler", TRAIN, [
        "ValueError: SchedulerType.CONSTANT does not require `num_warmup_steps`. Set None or 0."]),
    ("unknown-optimizer", TRAIN, ["AttributeError: module 'torch.optim' has no attribute 'Adamw'"]),
    ("equals-sign-in-an-argument", TRAIN, traceback(
        "training/trainer_base:_build_network", error="ValueError: too many values to unpack (expected 2)")),
    ("interval-of-zero", TRAIN, [*TRAINING, "ZeroDivisionError: integer modulo by zero"]),
    ("state-missing", TRAIN, ["ValueError: Tried to find /o/t-state but folder does not exist"]),
    ("logging-folder-missing", TRAIN, ["ValueError: logging_dir is required when log_with is tensorboard / Tensor"]),
    # machine
    ("disk-full", TRAIN, [*TRAINING, "OSError: [Errno 28] No space left on device"]),
    ("disk-full", TRAIN, [
        "safetensors_rust.SafetensorError: Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "
        '"No space left on device" })']),
    ("gpu-memory-caching", LATENTS, ["torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."]),
    ("gpu-memory-text-encoder", TEXT, [OOM]),
    ("gpu-memory-loading", TRAIN, [*LOADING, OOM]),
    ("gpu-memory-first-step", TRAIN, [*STARTED, OOM, STARTED[-1]]),
    ("gpu-memory-training", TRAIN, [*TRAINING, OOM, CLOSED_BAR]),
    ("gpu-memory-training", TRAIN, [*TRAINING, "RuntimeError: CUDA error: out of memory"]),
    ("shared-memory", TRAIN, [
        "RuntimeError: DataLoader worker (pid 71) is killed by signal: Bus error. It is possible that dataloader's "
        "workers are out of shared memory. Please try to raise your shared memory limit."]),
    ("ram", TRAIN, [*LOADING, "MemoryError"]),
    ("ram", TRAIN, ["RuntimeError: [enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: …"]),
    ("ram", TRAIN, ["RuntimeError: DataLoader worker (pid 71) is killed by signal: Killed. "]),
    ("torch-without-cuda", TEXT, ["AssertionError: Torch not compiled with CUDA enabled"]),
    ("driver-too-old", TEXT, [
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12020). Please update"]),
    ("no-gpu", TEXT, ["RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"]),
    ("no-gpu", TEXT, ["RuntimeError: No CUDA GPUs are available"]),
    ("gpu-too-new", LATENTS, ["RuntimeError: CUDA error: no kernel image is available for execution on the device"]),
    ("attention-package-missing", TRAIN, [*STARTED, "NameError: name 'xops' is not defined", STARTED[-1]]),
    ("attention-package-missing", TRAIN, ["NameError: name 'flash_attn_interface' is not defined"]),
    ("attention-package-unfit", TRAIN, [
        "NotImplementedError: No operator found for `memory_efficient_attention_forward` with inputs:"]),
    ("attention-package-unfit", TRAIN, [
        "CUDA error (/xformers/third_party/flash-attention/hopper/flash_fwd_launch_template.h:175): invalid argument"]),
    ("dtypes-clash", TRAIN, ["RuntimeError: mat1 and mat2 must have the same dtype, but got Float and Float8_e4m3fn"]),
    ("dtypes-clash", TRAIN, [
        *STARTED, "RuntimeError: Input type (float) and bias type (c10::Half) should be the same", STARTED[-1]]),
    ("gpu-fault", TRAIN, [*TRAINING, "RuntimeError: CUDA error: an illegal memory access was encountered"]),
    ("bitsandbytes-missing", TRAIN, ["ImportError: No bitsandbytes / bitsandbytesがインストールされていないようです"]),
    ("torchvision-unfit", LATENTS, ["RuntimeError: operator torchvision::nms does not exist"]),
    ("tokenizer-out-of-reach", TEXT, [
        "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files in the disk cache …",
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the …"]),
    ("tokenizer-out-of-reach", TEXT, ["ValueError: Unrecognized model in Wan-AI/Wan2.1-T2V-14B."]),
    ("compiler-missing", TRAIN, ["torch._inductor.exc.TritonMissing: Cannot find a working triton installation."]),
    ("system-library-missing", LATENTS, [
        "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"]),
    ("network-module-missing", TRAIN, ["ModuleNotFoundError: No module named 'networks.lora_wan'"]),
    ("checkout-not-found", TRAIN, ["ModuleNotFoundError: No module named 'musubi_tuner'"]),
    ("package-missing", TRAIN, ["ModuleNotFoundError: No module named 'prodigyopt'"]),
    ("package-unfit", TRAIN, [
        "ImportError: cannot import name 'cached_download' from 'huggingface_hub' (/venv/huggingface_hub.py)"]),
    ("libuv", TRAIN, ["torch.distributed.DistStoreError: use_libuv was requested but PyTorch was built without libuv"]),
    ("not-permitted", LATENTS, ["PermissionError: [Errno 13] Permission denied: '/c/a_wan.safetensors'"]),
    ("not-permitted", LATENTS, ["OSError: [Errno 30] Read-only file system: '/c/a_wan.safetensors'"]),
    ("worker-died", TRAIN, ["RuntimeError: DataLoader worker (pid(s) 71, 72) exited unexpectedly"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "program", "lines"), CASES, ids=[f"{index}-{case[0]}" for index, case in enumerate(CASES)]
)
def test_a_known_failure_is_named(name: str, program: str, lines: list[str]) -> None:
    diagnosis = diagnose(program, 1, lines)
    assert diagnosis is not None
    assert diagnosis.name == name
    assert not set("{}") & set(diagnosis.cause + diagnosis.fix)
    assert diagnosis.cause.endswith(".")
    assert diagnosis.fix


def test_every_known_failure_has_a_case() -> None:
    assert {failure.name for failure in KNOWN_FAILURES} == {name for name, _, _ in CASES}


@pytest.mark.parametrize(
    ("program", "lines", "told"),
    [
        (
            TRAIN,
            ["AssertionError: DiT weights are in bf16, mixed precision must be bf16 or no"],
            "mixed_precision: bf16",
        ),
        (TRAIN, ["AssertionError: Cannot swap more than 39 blocks. Requested 40 blocks to swap."], "39 or less"),
        (TRAIN, ["ModuleNotFoundError: No module named 'prodigyopt'"], "install prodigyopt in musubi's environment"),
    ],
)
def test_the_fix_holds_what_the_output_said(program: str, lines: list[str], told: str) -> None:
    diagnosis = diagnose(program, 1, lines)
    assert diagnosis is not None
    assert told in diagnosis.fix


@pytest.mark.parametrize(
    ("exit_code", "output", "name"),
    [
        (-9, [], "ram"),
        (137, [], "ram"),
        (3221225477, [], "ram"),
        (1, ["subprocess.CalledProcessError: Command '['python']' died with <Signals.SIGKILL: 9>."], "ram"),
        (1, ["subprocess.CalledProcessError: Command '['python']' died with <Signals.SIGSEGV: 11>."], "crashed"),
        (-11, [], "crashed"),
        (134, [], "crashed"),
        (-15, [], "stopped"),
        (130, ["KeyboardInterrupt"], "stopped"),
        (-64, [], "crashed"),
    ],
)
def test_an_end_from_outside_is_told_from_the_exit_code(exit_code: int, output: list[str], name: str) -> None:
    diagnosis = diagnose(TRAIN, exit_code, [*TRAINING, *output])
    assert diagnosis is not None
    assert diagnosis.name == name


def test_a_loss_that_is_no_number_is_found_even_when_musubi_ends_well() -> None:
    lines = [*TRAINING, "steps:   1%|          | 13/1800 [00:34<01:10,  2.94s/it, avr_loss=nan]", "epoch 2/100"]
    for exit_code in (0, 1, -9):
        diagnosis = diagnose(TRAIN, exit_code, lines)
        assert diagnosis is not None
        assert diagnosis.name == "nan-loss"
        assert "step 13" in diagnosis.cause


def test_an_error_is_told_rather_than_the_nan_before_it() -> None:
    lines = [*TRAINING, "steps:   1%|          | 13/1800 [00:34<01:10,  2.94s/it, avr_loss=nan]", OOM]
    diagnosis = diagnose(TRAIN, 1, lines)
    assert diagnosis is not None
    assert diagnosis.name == "gpu-memory-training"


def test_a_caching_that_found_nothing_is_a_failure() -> None:
    first = ["INFO:musubi_tuner.cache_latents:Encoding dataset [0]", "0it [00:00, ?it/s]", "6it [00:04,  1.43it/s]"]
    second = ["INFO:musubi_tuner.cache_latents:Encoding dataset [1]", "0it [00:00, ?it/s]"]
    assert diagnose(LATENTS, 0, first) is None
    for lines in (first + second, second + first):
        diagnosis = diagnose(LATENTS, 0, lines)
        assert diagnosis is not None
        assert diagnosis.name == "nothing-cached"
        assert "Dataset 1" in diagnosis.cause


def test_zeros_cached_for_nan_are_a_failure() -> None:
    lines = ["WARNING:musubi_tuner.dataset.cache_io:latents_1x8x8_float16 tensor has NaN: /d/a.png, replace NaN with 0"]
    diagnosis = diagnose(LATENTS, 0, lines)
    assert diagnosis is not None
    assert diagnosis.name == "nan-in-cache"
    assert "/d/a.png" in diagnosis.cause


def test_timesteps_that_cannot_be_drawn_are_a_failure() -> None:
    line = "WARNING:musubi_tuner.training.trainer_base:Could not sample 1 valid timesteps in 1000 loops / 1000ループで"
    diagnosis = diagnose(TRAIN, 0, [*TRAINING, line])
    assert diagnosis is not None
    assert diagnosis.name == "timesteps-out-of-reach"


def test_a_good_run_and_an_unknown_failure_have_no_diagnosis() -> None:
    assert diagnose(TRAIN, 0, [*TRAINING, "INFO:musubi_tuner.training.trainer_base:model saved."]) is None
    assert diagnose(TRAIN, 1, [*TRAINING, "RuntimeError: something new"]) is None
    assert diagnose(TRAIN, 1, []) is None


def test_the_source_code_that_a_traceback_quotes_is_not_taken_for_a_message() -> None:
    assert diagnose(TRAIN, 1, traceback("training/trainer_base:train", error="RuntimeError: something new")) is None


def test_the_error_line_is_the_last_one_that_is_not_the_launchers() -> None:
    lines = [
        *traceback("x:y", error="KeyError: 'clip'"),
        "During handling of the above exception, another exception occurred:",
        *traceback("x:y", error="safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge"),
        CLOSED_BAR,
        "subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 1.",
    ]
    assert error_line(lines) == lines[-3]
    assert error_line(["MemoryError"]) == "MemoryError"
    assert error_line(["INFO:a:no Error: here", "epoch 1/3"]) is None


_OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.27 GiB."


@pytest.mark.parametrize(
    ("before", "phase"),
    [
        (["INFO:musubi_tuner.wan:loading"], "loading"),
        (["training begins; 300 steps, 4 epochs"], "first step"),
        (["training continues after step 120 of states/train-high/step-00000120; 300 steps, 4 epochs"], "first step"),
        (["training begins; 300 steps, 4 epochs", "step 1/300, loss 0.1"], "training"),
    ],
)
def test_how_far_the_extension_came_is_told_from_its_own_lines(before: list[str], phase: str) -> None:
    assert ran_out_of_gpu_memory("wan_train_network", 1, [*before, _OUT_OF_MEMORY]) == phase


def test_other_ends_are_no_lack_of_gpu_memory() -> None:
    assert ran_out_of_gpu_memory("wan_train_network", 0, [_OUT_OF_MEMORY]) is None
    assert ran_out_of_gpu_memory("wan_train_network", 1, ["RuntimeError: something else"]) is None


def test_the_launchers_traceback_is_left_out() -> None:
    own = ["Traceback (most recent call last):", "  File a", _OUT_OF_MEMORY]
    launchers = [
        "Traceback (most recent call last):",
        "  File b",
        "subprocess.CalledProcessError: Command '[…]' returned",
    ]
    assert without_launcher([*own, *launchers]) == tuple(own)
    assert without_launcher(own) == tuple(own)
    assert without_launcher(launchers[1:]) == tuple(launchers[1:])


def test_what_ran_out_of_ram_is_told_the_figures_that_the_plan_counts_with() -> None:
    figures = (f"{size / 1e9:g} GB" for size in (RAM_SWAPPING, RAM_SWAPPING_PLAIN, RAM_TEXT))
    assert re.findall(r"[\d.]+ GB", RAM_TAKEN) == list(figures)
