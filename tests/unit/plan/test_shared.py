"""`parallel: ddp`: what a plan makes of one expert over several GPUs, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wan22lora.errors import SpecError
from wan22lora.machine.settings import Machine
from wan22lora.plan.build import prepare
from wan22lora.plan.lacking import lacking
from wan22lora.plan.prepared import Prepared
from wan22lora.run.carry_out import read_history
from wan22lora.spec.load import load_spec

RUN = "name: paper\npreset: style\ntrigger: paperworld\nimages: pictures\nparallel: ddp\n"


@pytest.fixture
def shared(tmp_path: Path, pictures: Path, machine: Machine) -> Callable[..., Prepared]:
    def shared(text: str, *gpus: str, **more: bool) -> Prepared:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        spec = load_spec(path)
        return prepare(spec, replace(machine, gpus=gpus), read_history(spec.folder), **more)  # type: ignore[arg-type]

    return shared


def test_each_training_has_all_gpus_and_its_share_of_the_steps(shared: Callable[..., Prepared]) -> None:
    prepared = shared(f"{RUN}train: {{epochs: 10, gradient_accumulation: 2}}\n", "0", "1", "3")
    high, low = prepared.plan.steps[2:]
    for step in (high, low):
        assert step.env["CUDA_VISIBLE_DEVICES"] == "0,1,3"
        assert step.argv[step.argv.index("--processes") + 1] == "3"
        assert step.key["--processes"] == "3"
        assert step.predicted_steps == 10 * 3  # 18 batches, 6 each, two to a step
    assert "train-high" in low.after
    assert prepared.plan.steps[0].env["CUDA_VISIBLE_DEVICES"] == "0"
    (note,) = (note.message for note in prepared.plan.notes if "ddp" in note.message)
    assert "up to 6 items (batch_size 1 × gradient_accumulation 2 × 3 GPUs)" in note


def test_steps_stay_as_many_as_were_asked_for(shared: Callable[..., Prepared]) -> None:
    prepared = shared(f"{RUN}train: {{steps: 70}}\n", "0", "1")
    assert prepared.plan.steps[2].predicted_steps == 70


def test_with_one_gpu_it_is_refused(shared: Callable[..., Prepared], machine: Machine) -> None:
    for gpus in ((), ("0",)):
        found = [each for each in lacking(shared(RUN, *gpus), replace(machine, gpus=gpus)) if "ddp" in each.message]
        assert [each.where for each in found] == ["run.yaml:5:1 parallel"]
    assert not [
        each for each in lacking(shared(RUN, "0", "1"), replace(machine, gpus=("0", "1"))) if "ddp" in each.message
    ]


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ("trainer: plain\n", "run.yaml:5:1 parallel"),
        ("pin: article\n", "run.yaml:5:1 parallel"),
        ("train: {save_state: true}\n", "run.yaml:6:9 train.save_state"),
        ("musubi: {train: {sample_prompts: p.txt}}\n", "run.yaml:6:18 musubi.train.sample_prompts"),
    ],
)
def test_what_does_not_go_with_it_is_told(shared: Callable[..., Prepared], more: str, where: str) -> None:
    with pytest.raises(SpecError) as caught:
        shared(RUN + more, "0", "1")
    assert where in [finding.where for finding in caught.value.findings if "ddp" in finding.message]
