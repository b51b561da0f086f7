"""What preservation is for: the same LoRA for the trigger, and a class that stays as it was."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from .asking import ask, run_trainer
from .environment import SmallModels

TRAINING = shlex.split("""
--task t2v-A14B --sdpa --mixed_precision no --seed 5 --dataset_config dataset.toml
--network_module networks.lora_wan --network_dim 4 --network_alpha 4 --optimizer_type AdamW --learning_rate 2e-3
--timestep_sampling shift --discrete_flow_shift 1.0 --preserve_distribution_shape
--min_timestep 875 --max_timestep 1000 --max_train_epochs 10 --max_data_loader_n_workers 0
--output_dir loras --step_id train-high --ledger events.jsonl
""")

PRESERVING = {
    "without": [],
    "with": ["--preservation_weight", "1"],
    "rarely": ["--preservation_weight", "1", "--preservation_every", "3"],
}


@pytest.fixture(scope="module")
def measured(
    musubi_python: Path,
    environment: dict[str, str],
    small_models: SmallModels,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """Three trainings of 60 steps, by the trainer itself, and what their LoRAs do."""
    place, expert = tmp_path_factory.mktemp("effect"), small_models.t2v_high
    ask(musubi_python, environment, "ask_kept", place, expert)
    for name, preserving in PRESERVING.items():
        own = ["--output_name", name, "--states", f"states-{name}", "--preservation_folder", "class-0badcafe"]
        run_trainer(musubi_python, environment, place, *TRAINING, "--dit", expert, *own, *preserving)
    loras = [place / "loras" / f"{name}.safetensors" for name in PRESERVING]
    told = ask(musubi_python, environment, "ask_kept", place, expert, *loras)
    print(told)
    return told


# Measured with seeds 1 to 6, preserving in every batch: 98.5 to 99.3 % of the gain, and the class moves 12 to 23 times
# less; in every third: 96.5 to 97.8 %, 11 to 18 times less. Seed 5 is used here.


@pytest.mark.parametrize(("name", "share"), [("with", 0.97), ("rarely", 0.95)])
def test_the_trigger_is_learned_nearly_as_well_as_without_preservation(
    measured: dict[str, Any], name: str, share: float
) -> None:
    gain = {each: measured["base"] - measured[each]["loss"] for each in PRESERVING}
    assert gain["without"] > 0.3
    assert gain[name] > share * gain["without"]


@pytest.mark.parametrize("name", ["with", "rarely"])
def test_the_class_moves_much_less_than_without_preservation(measured: dict[str, Any], name: str) -> None:
    assert measured[name]["moved"] < measured["without"]["moved"] / 5
