"""The article presets against the commands that the articles print, option for option."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wan22lora.machine.settings import Machine
from wan22lora.musubi.programs import TRAINER
from wan22lora.plan.model import Step
from wan22lora.plan.prepared import Prepared
from wan22lora.trainer.options import OPTIONS

from ...argv import option_tokens

SHARED = {
    "--xformers": [],
    "--fp8_base": [],
    "--optimizer_type": ["adamw"],
    "--learning_rate": ["3e-4"],
    "--gradient_checkpointing": [],
    "--gradient_accumulation_steps": ["1"],
    "--max_data_loader_n_workers": ["2"],
    "--network_module": ["networks.lora_wan"],
    "--timestep_sampling": ["shift"],
    "--discrete_flow_shift": ["1.0"],
    "--max_train_epochs": ["100"],
    "--save_every_n_epochs": ["100"],
    "--seed": ["5"],
    "--optimizer_args": ["weight_decay=0.1"],
    "--max_grad_norm": ["0"],
    "--lr_scheduler": ["polynomial"],
    "--lr_scheduler_min_lr_ratio": ["5e-5"],
    "--metadata_author": ["AI_Characters"],
}
WAN22 = {
    **SHARED,
    "--task": ["t2v-A14B"],
    "--mixed_precision": ["fp16"],
    "--network_dim": ["16"],
    "--network_alpha": ["16"],
    "--lr_scheduler_power": ["8"],
    "--preserve_distribution_shape": [],
}
HIGH_NAME = "WAN2.2-HighNoise_SmartphoneSnapshotPhotoReality_v3_by-AI_Characters"
LOW_NAME = "WAN2.2-LowNoise_SmartphoneSnapshotPhotoReality_v3_by-AI_Characters"
WAN21_NAME = "WAN2.1_RickAndMortyStyle_v1_by-AI_Characters"
HIGH = {
    **WAN22,
    "--min_timestep": ["875"],
    "--max_timestep": ["1000"],
    "--output_name": [HIGH_NAME],
    "--metadata_title": [HIGH_NAME],
}
LOW = {
    **WAN22,
    "--min_timestep": ["0"],
    "--max_timestep": ["875"],
    "--output_name": [LOW_NAME],
    "--metadata_title": [LOW_NAME],
}
WAN21 = {
    **SHARED,
    "--task": ["t2v-14B"],
    "--mixed_precision": ["bf16"],
    "--network_dim": ["32"],
    "--network_alpha": ["32"],
    "--lr_scheduler_power": ["4"],
    "--output_name": [WAN21_NAME],
    "--metadata_title": [WAN21_NAME],
}
OF_THE_EXTENSION = {f"--{option.name}" for option in OPTIONS}
PATHS = {"--dit", "--vae", "--t5", "--dataset_config", "--output_dir"}
FILES = {
    "train-high": "wan2.2_t2v_high_noise_14B_fp16.safetensors",
    "train-low": "wan2.2_t2v_low_noise_14B_fp16.safetensors",
    "train": "wan2.1_t2v_14B_fp8_e4m3fn.safetensors",
}

WAN22_RUN = f"""
name: smartphone
preset: article-wan22
images: pictures
experts:
  high: {{output_name: {HIGH_NAME}}}
  low: {{output_name: {LOW_NAME}}}
"""
WAN21_RUN = f"""
name: rick
preset: article-wan21
images: pictures
train: {{output_name: {WAN21_NAME}}}
"""


def options(step: Step) -> dict[str, list[str]]:
    """The options of the trainer; fails where one is given twice."""
    found: dict[str, list[str]] = {}
    for token in option_tokens(step.argv):
        if token.startswith("--"):
            assert token not in found
            found[token] = []
        else:
            found[list(found)[-1]].append(token)
    return found


@pytest.mark.parametrize("pin", ["v0.3.4", "v0.3.4\ntrainer: plain", "article"])
@pytest.mark.parametrize(
    ("run", "step_id", "published"),
    [(WAN22_RUN, "train-high", HIGH), (WAN22_RUN, "train-low", LOW), (WAN21_RUN, "train", WAN21)],
    ids=["WAN 2.2 high", "WAN 2.2 low", "WAN 2.1"],
)
def test_the_preset_gives_the_articles_command_option_for_option(
    plan: Callable[..., Prepared], run: str, step_id: str, published: dict[str, list[str]], pin: str
) -> None:
    (step,) = [step for step in plan(f"{run}pin: {pin}\n").plan.steps if step.id == step_id]
    ours = options(step)
    assert set(ours) >= PATHS
    assert ours["--dit"][0].endswith(FILES[step_id])
    assert ours["--vae"][0].endswith("wan_2.1_vae.safetensors")
    assert ours["--t5"][0].endswith("models_t5_umt5-xxl-enc-bf16.pth")
    assert {name: values for name, values in ours.items() if name not in PATHS | OF_THE_EXTENSION} == published


def test_the_launcher_gets_the_articles_option_and_what_keeps_accelerate_to_one_process(
    plan: Callable[..., Prepared],
) -> None:
    (step,) = [step for step in plan(f"{WAN22_RUN}trainer: plain\n").plan.steps if step.id == "train-high"]
    script = next(index for index, token in enumerate(step.argv) if token.endswith("wan_train_network.py"))
    launcher = step.argv[1:script]
    assert launcher[:2] == ("-m", "accelerate.commands.launch")
    pairs = dict(zip(launcher[2::2], launcher[3::2], strict=True))
    assert pairs.pop("--config_file").endswith("accelerate.yaml")
    assert pairs == {
        "--num_cpu_threads_per_process": "1",  # the article's
        "--num_processes": "1",
        "--num_machines": "1",
        "--dynamo_backend": "no",
        "--mixed_precision": "fp16",
    }


def test_the_extension_is_started_directly_with_what_the_launcher_would_set(
    plan: Callable[..., Prepared], machine: Machine
) -> None:
    prepared = plan(WAN22_RUN)
    (step,) = [step for step in prepared.plan.steps if step.id == "train-high"]
    assert step.argv[:3] == (str(machine.python), str(TRAINER), "--task")
    assert (TRAINER / "__main__.py").is_file()
    assert {name: value for name, value in step.env.items() if name.startswith(("ACCELERATE", "OMP"))} == {
        "ACCELERATE_DYNAMO_BACKEND": "NO",
        "ACCELERATE_MIXED_PRECISION": "fp16",
        "ACCELERATE_USE_CPU": "False",
        "OMP_NUM_THREADS": "1",  # the article's --num_cpu_threads_per_process
    }
    assert [file.path.name for file in prepared.plan.files] == ["dataset.toml"]
    assert {name: words for name, words in options(step).items() if name in OF_THE_EXTENSION} == {
        "--ledger": [str(prepared.plan.folder / "events.jsonl")],
        "--step_id": ["train-high"],
        "--states": [str(prepared.plan.folder / "states" / "train-high")],
        "--speed": ["fast"],
        "--activation_budget": ["0.0"],  # the GPU is not known
    }


@pytest.mark.parametrize("more", ["trainer: plain", "pin: article"])
def test_musubis_own_program_gets_nothing_of_the_extension(plan: Callable[..., Prepared], more: str) -> None:
    prepared = plan(f"{WAN22_RUN}{more}\n")
    for step in prepared.plan.steps:
        assert not OF_THE_EXTENSION & set(step.argv)
        assert "OMP_NUM_THREADS" not in step.env
        assert step.states is None
    assert "accelerate.yaml" in [file.path.name for file in prepared.plan.files]


def test_the_articles_eighteen_pictures_make_1800_steps_for_each_expert(plan: Callable[..., Prepared]) -> None:
    prepared = plan(WAN22_RUN)
    assert prepared.batches_per_epoch == 18
    assert [step.predicted_steps for step in prepared.plan.steps] == [None, None, 1800, 1800]


def test_an_expert_whose_blocks_wait_in_ram_gets_the_cpus_threads_to_copy_them(
    plan: Callable[..., Prepared], machine: Machine
) -> None:
    run = WAN22_RUN.replace("  low: {", "  low: {blocks_to_swap: 9, ")
    threads = {
        step.id: step.argv[step.argv.index("--num_cpu_threads_per_process") + 1]
        for step in plan(f"{run}trainer: plain\n").plan.steps
        if step.id.startswith("train")
    }
    under_extension = {
        step.id: step.env["OMP_NUM_THREADS"] for step in plan(run).plan.steps if step.id.startswith("train")
    }
    assert under_extension == threads
    assert (
        threads == {"train-high": "1", "train-low": str(machine.cpu_threads)} == {"train-high": "1", "train-low": "7"}
    )
