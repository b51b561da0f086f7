"""A rehearsed training: musubi-tuner's lines, files, arithmetic and late surprises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wan22lora.musubi.names import Saving, saved
from wan22lora.musubi.safetensors import Header, read_header, write

from .bench import Bench

STEP = re.compile(
    r"steps:\s+(\d+)%\|.{10}\|\s*(\d+)/(\d+) \[[\d:]+<[\d:?]+,\s+[\d.?]+(?:it/s|s/it), avr_loss=([^\]]+)\]"
)


def final(bench: Bench) -> Header:
    return read_header(bench.out / "t.safetensors")


def write_dit(path: Path, dtype: str = "F16") -> None:
    write(path, {"blocks.0.cross_attn.k.weight": (dtype, (1,), bytes(1 if dtype.startswith("F8") else 2))}, {})


def test_it_says_that_nothing_is_trained(cached: Bench) -> None:
    done = cached.train(launch=True)
    first, *_, last = done.stdout.splitlines()
    assert first == (
        "REHEARSAL: a stand-in for wan_train_network.py of musubi-tuner (v0.3.4)."
        " Nothing is encoded, nothing is trained."
    )
    assert last == "REHEARSAL: ended well. Nothing was trained: the files hold zeros."
    assert final(cached).metadata["wan22lora_rehearsal"] == "nothing was trained"
    assert "REHEARSAL: the DiT high_fp16.safetensors is not there; a real run would stop here" in done.stdout


def test_steps_are_counted_as_musubi_counts_them(cached: Bench) -> None:
    """Six batches, four to a step: what is left at the end of an epoch is a step too."""
    done = cached.train("--gradient_accumulation_steps", "4")
    assert "override steps. steps for 3 epochs is / 指定エポックまでのステップ数: 6\n" in done.stdout
    assert "  num train items / 学習画像、動画数: 6\n" in done.stdout
    assert "  total optimization steps / 学習ステップ数: 6\n" in done.stdout
    assert [f"epoch {n}/3" in done.stdout for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert final(cached).metadata["ss_steps"] == "6"


def test_steps_end_in_the_middle_of_an_epoch(cached: Bench) -> None:
    done = cached.train("--max_train_steps", "8", without=("--max_train_epochs",))
    assert "override steps" not in done.stdout
    assert "  num epochs / epoch数: 2\n" in done.stdout
    assert final(cached).metadata["ss_steps"] == "8"


def test_progress_is_one_line_rewritten_on_stderr(cached: Bench) -> None:
    done = cached.train()
    lines = [line for line in done.stderr.split("\n") if "avr_loss" in line]
    steps = [found for line in lines for found in STEP.findall(line)]
    counts = [int(count) for _, count, _, _ in steps]
    assert counts == sorted(counts)
    assert set(counts) == set(range(1, 19))
    assert {total for _, _, total, _ in steps} == {"18"}
    assert all(0.01 < float(loss) < 1 for *_, loss in steps)
    assert "\rsteps:   0%|          | 0/18 [00:00<?, ?it/s]INFO:" in done.stderr
    assert "steps:" not in done.stdout
    assert done.stderr.index("model saved.") < done.stderr.rindex("\rsteps: 100%|██████████| 18/18")


def test_the_same_seed_gives_the_same_falling_losses(cached: Bench) -> None:
    options = ("--max_train_epochs", "60", "--min_timestep", "0", "--max_timestep", "875")
    first, second = (STEP.findall(cached.train(*options).stderr) for _ in range(2))
    assert [loss for *_, loss in first][-1] == [loss for *_, loss in second][-1]
    assert float(first[-1][3]) < float(first[len(first) // 20][3])


def test_the_high_noise_expert_has_the_higher_loss(cached: Bench) -> None:
    high, low = (float(STEP.findall(cached.train("--min_timestep", lowest).stderr)[-1][3]) for lowest in ("875", "0"))
    assert high > low


def test_the_file_looks_like_a_lora_of_this_training(cached: Bench) -> None:
    cached.train(
        *("--min_timestep", "875", "--max_timestep", "1000", "--optimizer_args", "weight_decay=0.1"),
        *("--training_comment", "run 7", "--learning_rate", "3e-4", "--lr_warmup_steps", "5%"),
    )
    header = final(cached)
    down = header.tensors["lora_unet_blocks_0_self_attn_q.lora_down.weight"]
    assert (down.dtype, down.shape[0]) == ("F32", 16)
    assert header.tensors["lora_unet_blocks_0_self_attn_q.lora_up.weight"].shape[1] == 16
    assert header.tensors["lora_unet_blocks_0_self_attn_q.alpha"].shape == ()
    expected = {
        "modelspec.timestep_range": "875,1000",
        "modelspec.title": "t",
        "modelspec.architecture": "wan2.1/lora",
        "ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0.1)",
        "ss_training_comment": "run 7",
        "ss_learning_rate": "0.0003",
        "ss_lr_warmup_steps": "0.05",
        "ss_network_dim": "16",
        "ss_network_alpha": "16.0",
        "ss_sd_model_name": "high_fp16.safetensors",
    }
    assert {key: header.metadata[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("pin", "options", "dtype"),
    [
        ("v0.3.4", (), "F32"),
        ("v0.3.4", ("--save_precision", "bf16"), "BF16"),
        ("v0.3.4", ("--save_precision", "float"), "F32"),
        ("article", (), "F16"),
    ],
)
def test_the_saved_dtype_depends_on_the_pin(cached: Bench, pin: str, options: tuple[str, ...], dtype: str) -> None:
    cached.train(*options, WAN22LORA_PIN=pin)
    assert {tensor.dtype for tensor in final(cached).tensors.values()} == {dtype}


@pytest.mark.parametrize(
    "saving",
    [
        Saving(every_epochs=1),
        Saving(every_epochs=2, last_epochs=2, state=True),
        Saving(every_epochs=1, last_epochs=1, last_epochs_state=3, state=True),
        Saving(every_steps=4, last_steps=9, state=True),
        Saving(every_steps=6, every_epochs=3, last_steps=0, last_steps_state=13, state=True),
        Saving(state_at_end=True),
        Saving(every_steps=5),
    ],
)
def test_the_files_that_are_left_are_those_that_were_predicted(cached: Bench, saving: Saving) -> None:
    values = {
        "--save_every_n_epochs": saving.every_epochs,
        "--save_every_n_steps": saving.every_steps,
        "--save_last_n_epochs": saving.last_epochs,
        "--save_last_n_steps": saving.last_steps,
        "--save_last_n_epochs_state": saving.last_epochs_state,
        "--save_last_n_steps_state": saving.last_steps_state,
    }
    flags = [*["--save_state"] * saving.state, *["--save_state_on_train_end"] * saving.state_at_end]
    given = [token for name, value in values.items() if value is not None for token in (name, str(value))]
    done = cached.train("--max_train_epochs", "5", *given, *flags)
    assert done.returncode == 0
    expected = saved("t", epochs=5, steps=30, saving=saving)
    names = {checkpoint.file for checkpoint in expected.checkpoints} | set(expected.states)
    assert {path.name for path in cached.out.iterdir()} == names
    for state in expected.states:
        assert (cached.out / state / "random_states_0.pkl").exists()


def test_resume_starts_again_at_step_0(cached: Bench) -> None:
    cached.train("--save_state", "--save_every_n_epochs", "1")
    done = cached.train("--resume", cached.out / "t-000002-state")
    assert "resume training from local state:" in done.stderr
    assert "epoch 1/3" in done.stdout
    assert " 1/18 [" in done.stderr
    assert final(cached).metadata["ss_steps"] == "18"


def test_resume_needs_a_whole_state(cached: Bench) -> None:
    cached.train("--save_state", "--save_every_n_epochs", "1")
    state = cached.out / "t-000002-state"
    (state / "optimizer.bin").unlink()
    done = cached.train("--resume", state)
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
    done = cached.train("--resume", "elsewhere")
    assert "ValueError: Tried to find elsewhere but folder does not exist" in done.stderr


def test_the_folder_decides_what_is_trained(cached: Bench) -> None:
    """A removed picture still trains until its caches are gone; one without its caption's cache is left out."""
    (cached.pictures / "a0.png").unlink()
    (cached.cache / "a1_wan_te.safetensors").unlink()
    cached.write_config(num_repeats="2", batch_size="4")
    done = cached.train()
    assert "WARNING:musubi_tuner.dataset.cache_io:Text encoder output cache file not found:" in done.stderr
    assert "bucket: (96, 96, 9), count: 4\n" in done.stderr
    assert "bucket: (80, 112, 9), count: 2\n" in done.stderr
    assert "total batches: 3\n" in done.stderr
    assert "  num train items / 学習画像、動画数: 10\n" in done.stdout


def test_without_caches_there_is_nothing_to_train(bench: Bench) -> None:
    done = bench.train(launch=True)
    assert done.returncode == 1
    assert "ValueError: No training items found in the dataset. Please ensure" in done.stderr
    assert "subprocess.CalledProcessError: Command '[" in done.stderr
    assert done.stderr.rstrip().endswith("returned non-zero exit status 1.")


def test_image_to_video_needs_caches_made_for_it(cached: Bench) -> None:
    done = cached.train("--task", "i2v-A14B")
    assert done.returncode == 1
    assert "\nKeyError: 'latents_image'\n" in done.stderr
    cached.run(cached.argv("wan_cache_latents", "--dataset_config", cached.config, "--vae", "vae", "--i2v"))
    assert cached.train("--task", "i2v-A14B").returncode == 0


def test_latents_of_another_resolution_do_not_stack(cached: Bench) -> None:
    latents = sorted(cached.cache.glob("a[23]*_wan.safetensors"))
    write(latents[0], {"latents_1x8x8_bfloat16": ("BF16", (), b"\0\0")}, {})
    cached.write_config(batch_size="3")
    done = cached.train()
    assert done.returncode == 1
    assert "RuntimeError: stack expects each tensor to be equal size, but got [16, 1, " in done.stderr


def test_half_a_cache_file_stops_a_training_without_workers(cached: Bench) -> None:
    path = cached.cache / "a2_0128x0128_wan.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    done = cached.train("--max_data_loader_n_workers", "0")
    assert done.returncode == 1
    assert "safetensors_rust.SafetensorError: Error while deserializing header" in done.stderr


@pytest.mark.parametrize(
    ("stored", "options", "message"),
    [
        ("F16", ("--mixed_precision", "bf16"), "DiT weights are in fp16, mixed precision must be fp16 or no"),
        ("BF16", (), "DiT weights are in bf16, mixed precision must be bf16 or no"),
        ("F8_E4M3", ("--fp8_base", "--fp8_scaled"), "DiT weights is already in fp8 format, cannot scale to fp8."),
    ],
)
def test_weights_that_are_there_are_checked(cached: Bench, stored: str, options: tuple[str, ...], message: str) -> None:
    write_dit(cached.folder / "high_fp16.safetensors", stored)
    done = cached.train(*options)
    assert done.returncode == 1
    assert message in done.stderr
    assert "REHEARSAL: the DiT" not in done.stdout


def test_precision_given_to_the_launcher_only_is_not_enough(cached: Bench) -> None:
    write_dit(cached.folder / "high_fp16.safetensors")
    done = cached.train(launch=True, without=("--mixed_precision",))
    assert "AssertionError: DiT weights are in fp16, mixed precision must be fp16 or no" in done.stderr


def test_a_file_that_is_no_dit_is_refused(cached: Bench) -> None:
    write(cached.folder / "high_fp16.safetensors", {"decoder.weight": ("F16", (1,), b"\0\0")}, {})
    assert "ValueError: Could not find the dtype in the model weights: high_fp16" in cached.train().stderr


@pytest.mark.parametrize(
    ("without", "options", "message", "reached"),
    [
        ("--dit", (), "ValueError: path to DiT model is required", ""),
        ("--sdpa", (), "ValueError: either --sdpa, --flash-attn, --flash3", "accelerator device:"),
        ("--sdpa", ("--sage_attn",), "ValueError: SageAttention doesn't support training currently", ""),
        ("", ("--fp8_scaled",), "AssertionError: fp8_scaled requires fp8_base", ""),
        ("", ("--blocks_to_swap", "40"), "AssertionError: Cannot swap more than 39 blocks.", "accelerator device:"),
        ("", ("--network_module", "networks.lora_x"), "ModuleNotFoundError: No module named", "import network module:"),
        ("", ("--network_module", "networks.lora"), "RuntimeError: No LoRA modules found", "import network module:"),
        ("", ("--network_args", "a=b=c"), "ValueError: too many values to unpack", "import network module:"),
        ("", ("--optimizer_args", "betas=(0.9"), "SyntaxError:", "prepare optimizer"),
        ("--optimizer_type", (), "module 'torch.optim' has no attribute ''", "prepare optimizer"),
        ("", ("--lr_warmup_steps", "10"), "CONSTANT does not require `num_warmup_steps`", "override steps"),
        ("", ("--lr_scheduler", "cosin"), "ValueError: cosin is not a valid SchedulerType", "override steps"),
        ("--output_dir", (), "TypeError: expected str, bytes or os.PathLike object, not NoneType", "epoch 3/3"),
        ("--output_name", (), "TypeError: unsupported operand type(s) for +: 'NoneType' and 'str'", "epoch 3/3"),
        ("", ("--save_every_n_steps", "0"), "ZeroDivisionError", "epoch 1/3"),
        ("", ("--log_with", "tensorboard"), "ValueError: logging_dir is required", ""),
    ],
)
def test_mistakes_show_where_musubi_notices_them(
    cached: Bench, without: str, options: tuple[str, ...], message: str, reached: str
) -> None:
    done = cached.train(*options, without=(without,))
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.index("Traceback (most recent call last):") < done.stderr.index(message)
    assert reached in done.stdout


def test_the_older_pin_misses_the_modules_at_the_optimizer(cached: Bench) -> None:
    done = cached.train("--network_module", "networks.lora", WAN22LORA_PIN="article")
    assert "create LoRA for U-Net/DiT: 0 modules." in done.stderr
    assert "ValueError: optimizer got an empty parameter list" in done.stderr


def test_the_last_line_of_a_failure_is_not_the_error_but_the_progress(cached: Bench) -> None:
    done = cached.train("--task", "i2v-A14B")
    assert done.stderr.endswith("\nKeyError: 'latents_image'\n\rsteps:   0%|          | 0/18 [00:00<?, ?it/s]\n")
    assert "]Traceback" not in done.stderr
    done = cached.train(WAN22LORA_FAULT="train:crash@9")
    assert re.search(r"avr_loss=[\d.]+\] *Traceback \(most recent call last\):", done.stderr)
    assert re.search(r"\nRuntimeError: .*\n\rsteps:  44%\|.*\] *\n$", done.stderr)


def test_japanese_lines_break_an_ascii_terminal_as_musubis_do(cached: Bench) -> None:
    done = cached.train(PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 1
    assert "UnicodeEncodeError: 'ascii' codec can't encode characters" in done.stderr
