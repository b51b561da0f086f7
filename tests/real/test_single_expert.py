"""The one model of Wan 2.1 on several datasets; then a failure, Ctrl-C, and the training that ends well after both."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.musubi.safetensors import read_header
from wan22lora.run.alive import group_alive

from .command_line import CommandLine, write_pictures
from .environment import SmallModels

RUN = """
name: old
preset: article-wan21
datasets:
  - {{images: few, repeats: 3}}
  - {{image_jsonl: list.jsonl, batch_size: 2}}
data: {{resolution: 64}}
models: {{dit: {m.wan21_t2v}, vae: {m.vae}, t5: {m.t5}}}
train:
  epochs: 2
  gradient_accumulation: 2
  save_every_epochs: null
  mixed_precision: "no"
  fp8_base: null
  attention: sdpa
  data_loader_workers: 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, small_models: SmallModels) -> Path:
    """A folder of two shapes, seen three times, and a list of five pictures elsewhere."""
    place = tmp_path_factory.mktemp("single")
    write_pictures(place / "few", [(64, 64), (48, 96)])
    write_pictures(place / "many", [(64, 64)] * 5)
    lines = [json.dumps({"image_path": str(place / "many" / f"{i}.png"), "caption": f"sheet {i}"}) for i in range(5)]
    (place / "list.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (place / "run.yaml").write_text(RUN.format(m=small_models), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def wan22lora(place: Path, command_line: Callable[..., CommandLine]) -> CommandLine:
    return command_line(place)


def test_several_datasets_train_one_file_in_the_predicted_steps(place: Path, wan22lora: CommandLine) -> None:
    predicted = wan22lora.predicted_steps()
    trained = wan22lora("train", "run.yaml")
    assert trained.exit_code == 0, trained.output
    output = place / "runs" / "old" / "output"
    assert [path.name for path in output.iterdir()] == ["old.safetensors"]
    metadata = read_header(output / "old.safetensors").metadata
    # 3 + 3 batches of one and 3 of two make 9, and two of them one step: 5 an epoch
    assert predicted == [int(metadata["ss_steps"])] == [10]
    folders = sorted(path.name for path in (place / "runs" / "old" / "cache").iterdir() if path.is_dir())
    assert folders == ["0", "1"]


def test_a_missing_attention_package_is_named_with_the_way_out(place: Path, wan22lora: CommandLine) -> None:
    text = (place / "run.yaml").read_text(encoding="utf-8")
    text = text.replace("attention: sdpa", "attention: xformers")  # speed: fast has its own attention, and would train
    (place / "failing.yaml").write_text(f"{text}speed: reference\n", encoding="utf-8")
    failed = wan22lora("train", "failing.yaml", "--force", "train")
    assert failed.exit_code == 5, failed.output
    assert "likely cause: The package that train.attention names is not installed" in failed.output
    assert "train.attention: sdpa" in failed.output


def test_ctrl_c_ends_the_whole_training_and_a_shorter_one_is_a_restart(place: Path, wan22lora: CommandLine) -> None:
    text = (place / "run.yaml").read_text(encoding="utf-8")
    (place / "run.yaml").write_text(text.replace("epochs: 2\n", "epochs: 2000\n"), encoding="utf-8")
    with wan22lora.start("train", "run.yaml") as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if re.search(r"step \d+", line):
                break
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130, "".join(seen) + rest
    assert time.monotonic() - began < 20
    events = (place / "runs" / "old" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    groups = [event["pgid"] for event in map(json.loads, events) if event["event"] == "step-started"]
    assert not group_alive(groups[-1])
    (place / "run.yaml").write_text(text, encoding="utf-8")
    refused = wan22lora("train", "run.yaml")
    assert refused.exit_code == 7, refused.output
    assert "epochs was 2000, is 2" in refused.output
    assert wan22lora("train", "run.yaml", "--restart").exit_code == 0
