"""Weights, tokenizer, disks, and the run itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from wan22lora.doctor import disk, run_yaml, weights
from wan22lora.doctor.check import Check
from wan22lora.doctor.environment import Environment
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.needs import run_folder_needs
from wan22lora.doctor.stored import stored_files
from wan22lora.doctor.tokenizer import FILES, Tokenizer, find_tokenizer, hugging_face_folder
from wan22lora.machine.settings import TOKENIZER_FOLDER
from wan22lora.models.arriving import lock_path
from wan22lora.musubi.safetensors import write
from wan22lora.plan.fast_memory import LORA_NUMBERS

from .conftest import GB

HIGH = "wan2.2_t2v_high_noise_14B_fp16.safetensors"


def told(question: Callable[[Facts], Iterator[Check]], facts: Facts, **changes: Any) -> Check:
    (check,) = question(replace(facts, **changes))
    return check


def again(facts: Facts) -> Facts:
    """The same after the folder of weights has changed."""
    return replace(facts, stored=stored_files(facts.machine.models, facts.run))


def without(facts: Facts, *names: str) -> Facts:
    for name in names:
        (path,) = facts.machine.models.rglob(name)
        path.unlink()
    return again(facts)


def test_complete_tasks_are_named(healthy: Facts) -> None:
    assert "t2v-A14B, i2v-A14B and t2v-14B" in told(weights.weights, healthy).text
    assert "i2v-A14B and t2v-14B" in told(weights.weights, without(healthy, HIGH)).text


def test_missing_weights_come_by_fetching_them(healthy: Facts) -> None:
    experts = [path.name for path in healthy.machine.models.rglob("*_14B_*")]
    check = told(weights.weights, without(healthy, *experts, "wan_2.1_vae.safetensors"))
    assert check.status == "failure"
    assert check.fix == "wan22lora models fetch vae t2v-high t2v-low"
    assert "57 GB to fetch" in check.text


def test_the_task_that_was_begun_is_the_one_meant(healthy: Facts) -> None:
    experts = [path.name for path in healthy.machine.models.rglob("*_14B_*") if "i2v_low" not in path.name]
    assert told(weights.weights, without(healthy, *experts)).fix == "wan22lora models fetch i2v-high"


def test_a_run_needs_the_files_of_its_task(with_run: Callable[..., Facts]) -> None:
    facts = without(with_run(), HIGH)
    checks = {check.status: check for check in weights.weights(facts)}
    assert checks["failure"].fix == "wan22lora models fetch t2v-high"
    assert "headers" in checks["ok"].text
    assert told(weights.weights, without(with_run("task: i2v-A14B"))).status == "ok"


def test_a_file_that_run_yaml_names_is_not_fetched_elsewhere(with_run: Callable[..., Facts], tmp_path: Path) -> None:
    facts = with_run("models: {high: ./mine.safetensors}")
    checks = [check for check in weights.weights(facts) if check.status == "failure"]
    assert [check.fix for check in checks] == [f"ls {tmp_path}"]


def test_a_wrong_file_is_called_what_it_is(with_run: Callable[..., Facts], healthy: Facts) -> None:
    (vae,) = healthy.machine.models.rglob("wan_2.1_vae.safetensors")
    five_b = {"encoder.conv1.weight": ("F32", (1, 12), bytes(48)), "decoder.conv1.weight": ("F32", (1,), bytes(4))}
    write(vae, five_b, {})
    check = next(weights.weights(again(healthy)))
    assert check.status == "failure"
    assert "5B" in check.text
    of_run = [check for check in weights.weights(with_run()) if check.status == "failure"]
    assert len(of_run) == 1
    assert "models.vae" in of_run[0].text
    named = [check for check in weights.weights(with_run(f"models: {{vae: {vae}}}")) if check.status == "failure"]
    assert len(named) == 1
    assert re.match(r"run\.yaml:\d+:\d+ models\.vae: ", named[0].text)


def test_experts_in_exchanged_places_are_found(with_run: Callable[..., Facts], healthy: Facts) -> None:
    low = next(healthy.machine.models.rglob("wan2.2_t2v_low*"))
    facts = with_run(f"models: {{high: {low}}}")
    failures = [check for check in weights.weights(facts) if check.status == "failure"]
    assert "low-noise expert" in failures[0].text


def test_a_file_that_is_being_fetched_is_only_a_warning(with_run: Callable[..., Facts], healthy: Facts) -> None:
    (path,) = healthy.machine.models.rglob(HIGH)
    with FileLock(lock_path(path)):
        facts = without(with_run(), HIGH)
        assert {check.status for check in weights.weights(facts)} == {"warning", "ok"}


def lay_tokenizer(hub: Path, *files: str) -> Path:
    repository = hub / TOKENIZER_FOLDER
    folder = repository / "snapshots" / "abc" / "google" / "umt5-xxl"
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    for name in files:
        (folder / name).write_text("{}")
    return folder


def test_the_tokenizer_is_found_beside_the_weights_or_in_the_persons_cache(tmp_path: Path) -> None:
    home = tmp_path / "huggingface"
    variables = {"HF_HOME": str(home)}
    assert find_tokenizer(tmp_path / "models", variables) is None
    lay_tokenizer(home / "hub", *FILES)
    assert find_tokenizer(tmp_path / "models", variables) == Tokenizer(home / "hub")
    lay_tokenizer(tmp_path / "models" / "hub", FILES[0])
    assert find_tokenizer(tmp_path / "models", variables) == Tokenizer(tmp_path / "models" / "hub", (FILES[1],))


def test_a_link_to_a_file_that_is_gone_is_a_missing_file(tmp_path: Path) -> None:
    folder = lay_tokenizer(tmp_path / "hub", FILES[0])
    (folder / FILES[1]).symlink_to("../nothing")
    assert find_tokenizer(tmp_path, {}) == Tokenizer(tmp_path / "hub", (FILES[1],))


def test_a_cache_without_a_name_for_its_revision_cannot_be_used_offline(tmp_path: Path) -> None:
    lay_tokenizer(tmp_path / "hub", *FILES)
    (tmp_path / "hub" / TOKENIZER_FOLDER / "refs" / "main").unlink()
    found = find_tokenizer(tmp_path / "models", {"HF_HUB_CACHE": str(tmp_path / "hub")})
    assert found == Tokenizer(tmp_path / "hub", ("refs/main",))


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HOME": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/huggingface"),
        ({}, str(Path("~/.cache/huggingface").expanduser())),
    ],
)
def test_hugging_faces_folder_is_where_its_libraries_look(variables: dict[str, str], folder: str) -> None:
    assert str(hugging_face_folder(variables)) == folder


def test_without_the_tokenizer_caching_needs_the_network(healthy: Facts) -> None:
    assert told(weights.tokenizer, healthy, tokenizer=None).status == "warning"
    offline = told(weights.tokenizer, healthy, tokenizer=None, variables={"HF_HUB_OFFLINE": "1"})
    assert offline.status == "failure"
    assert "HF_HUB_OFFLINE" in offline.text


def test_half_a_tokenizer_beside_the_weights_hides_the_network(healthy: Facts) -> None:
    hub = healthy.machine.models / "hub"
    half = Tokenizer(hub, ("tokenizer.json",))
    check = told(weights.tokenizer, healthy, tokenizer=half, machine=replace(healthy.machine, hub=hub))
    assert check.status == "failure"
    assert "lacks tokenizer.json" in check.text


def needs(facts: Facts) -> dict[str, int]:
    assert facts.run is not None
    total: dict[str, int] = {}
    for need in run_folder_needs(facts.run):
        total[need.what] = total.get(need.what, 0) + need.amount
    return total


def test_checkpoints_and_states_come_from_the_runs_own_numbers(with_run: Callable[..., Facts]) -> None:
    text = "train: {rank: 32, epochs: 10, save_every_epochs: 2, save_state: true, save_precision: PRECISION}"
    found = needs(with_run(text.replace("PRECISION", "fp32")))
    one = LORA_NUMBERS * 32 * 4
    assert found["LoRA files"] == 2 * 5 * one  # after epochs 2, 4, 6, 8 and at the end, two experts
    assert found["states"] == 2 * (5 + 2) * one * 3  # and the two that the trainer keeps to go on from
    assert needs(with_run(text.replace("PRECISION", "bf16")))["LoRA files"] == 2 * 5 * one // 2


def test_an_average_takes_room_beside_each_file_and_in_each_of_the_trainers_states(
    with_run: Callable[..., Facts],
) -> None:
    text = "train: {rank: 16, epochs: 10, save_precision: fp32, states: {keep_last: 3}, ema: {decay: 0.99}}"
    found = needs(with_run(text))
    one = LORA_NUMBERS * 16 * 4
    assert found["LoRA files"] == 2 * 2 * one
    assert found["states"] == 2 * 3 * one * (3 + 1)
    plain = needs(with_run("train: {rank: 16, epochs: 10, save_precision: fp32}\ntrainer: plain"))
    assert plain["LoRA files"] == 2 * one
    assert "states" not in plain


def test_files_that_will_be_deleted_need_room_for_a_moment(with_run: Callable[..., Facts]) -> None:
    text = "train: {rank: 16, epochs: 100, save_every_epochs: 1, keep_last_epochs: 2, save_precision: fp32}"
    assert needs(with_run(text))["LoRA files"] == 2 * (2 + 1 + 1) * LORA_NUMBERS * 16 * 4


def test_rank_16_takes_what_was_measured(with_run: Callable[..., Facts]) -> None:
    found = needs(with_run("train: {rank: 16, epochs: 1, save_precision: fp32}"))
    assert found["LoRA files"] / 2 == pytest.approx(306_848_200, rel=0.001)


def test_a_disk_that_is_too_small_is_told_with_what_is_missing(with_run: Callable[..., Facts]) -> None:
    facts = without(with_run(), HIGH)
    assert facts.models_space is not None
    assert facts.run_space is not None
    assert told(disk.disk, facts).status == "ok"
    full = {"models_space": replace(facts.models_space, free=20 * GB), "run_space": facts.run_space}
    full["run_space"] = replace(facts.run_space, free=20 * GB)
    check = told(disk.disk, facts, **full)
    assert check.status == "failure"
    assert "weights 29 GB" in check.text
    assert "are missing" in check.text
    assert check.fix == "wan22lora models use FOLDER_ON_ANOTHER_DISK"


def test_folders_on_two_disks_are_counted_apart(with_run: Callable[..., Facts]) -> None:
    facts = without(with_run(), HIGH)
    assert facts.run_space is not None
    apart = replace(facts, run_space=replace(facts.run_space, device=7, free=20 * GB))
    checks = {check.name: check for check in disk.disk(apart)}
    assert checks["disk-run"].status == checks["disk-models"].status == "ok"
    assert "weights" not in checks["disk-run"].text


def test_an_environment_that_is_not_there_needs_room_too(healthy: Facts) -> None:
    assert "environment 9.0 GB" in told(disk.disk, healthy, environment=Environment()).text


def test_a_folder_that_may_not_be_written_is_a_failure(with_run: Callable[..., Facts], tmp_path: Path) -> None:
    facts = with_run()
    assert facts.run_space is not None
    closed = replace(facts, run_space=replace(facts.run_space, writable=False), variables={"USER": "ann"})
    check = next(check for check in disk.disk(closed) if check.status == "failure")
    assert check.fix == f"sudo chown -R ann {tmp_path}"


def test_each_mistake_in_run_yaml_is_a_failure_with_its_place(with_run: Callable[..., Facts]) -> None:
    checks = list(run_yaml.run_yaml(with_run("train:\n  learning_rat: 1\n  rank: 0\n")))
    assert {check.status for check in checks} == {"failure"}
    texts = " ".join(check.text for check in checks)
    assert "run.yaml:5:3 train.learning_rat" in texts
    assert "train.rank" in texts


def test_a_run_yaml_that_is_no_yaml_is_a_failure(with_run: Callable[..., Facts]) -> None:
    checks = list(run_yaml.run_yaml(with_run("train: [\n")))
    assert [check.status for check in checks] == ["failure"]


def test_what_is_wrong_with_the_dataset_is_told(with_run: Callable[..., Facts], tmp_path: Path) -> None:
    facts = with_run("trigger: abc")
    assert [check.status for check in run_yaml.dataset(facts)] == ["warning", "ok"]
    (tmp_path / "pictures" / "00.png").write_bytes(b"no picture")
    assert facts.run is not None
    checks = list(run_yaml.dataset(with_run()))
    assert any("00.png" in check.text for check in checks)


def test_an_option_that_musubi_lacks_does_not_hide_the_dataset(with_run: Callable[..., Facts]) -> None:
    facts = with_run("trigger: abc\nmusubi: {train: {weighting_scheme: nothing}}")
    assert [check.status for check in run_yaml.run_yaml(facts)][:1] == ["failure"]
    assert any("trigger" in check.text for check in run_yaml.dataset(facts))


def test_a_run_that_is_planned_says_its_length(with_run: Callable[..., Facts]) -> None:
    memory, length = run_yaml.run_yaml(with_run("train: {epochs: 3}"))
    assert "train-high 54 steps, train-low 54 steps" in length.text
    assert "train-high and train-low: speed: fast, nothing is computed twice: about 56.6 of 79.2 GiB" in memory.text
    assert (memory.status, length.status) == ("ok", "ok")
