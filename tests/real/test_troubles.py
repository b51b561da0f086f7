"""What a training meets on its way: a full disk, damaged states, losses that are no numbers, another musubi-tuner."""

from __future__ import annotations

import math
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from .asking import TRAINER
from .test_exact_resume import assert_same
from .trainings import BATCHES, Moment, SmallDisk, Trained, Trainings

SPARE = 64 * 2**20
"""What the trainer leaves free beside a file."""
MIB = 2**20


@pytest.fixture(scope="module")
def mountable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where a user may not mount a disk of his own."""
    place = tmp_path_factory.mktemp("mounted")
    try:
        mounted = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", place], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted: {mounted.stderr.decode().strip()}")


@pytest.fixture(scope="module")
def whole(trainings: Trainings) -> Trained:
    return trainings.train("--states_every_steps 4")


@pytest.fixture(scope="module")
def state_bytes(whole: Trained) -> int:
    size: int = whole.told("state")[-1]["bytes"]
    return size


def on_disk(folder: Path, options: str = "") -> str:
    return f"--states {folder / 'disk' / 'states'} --states_every_steps 4 --disk_patience 20 {options}"


@pytest.mark.usefixtures("mountable")
def test_a_full_disk_pauses_and_room_lets_it_go_on(trainings: Trainings, whole: Trained) -> None:
    folder = trainings.new()
    disk = SmallDisk(size=SPARE + 30 * MIB, filler=30 * MIB)
    trained = trainings.train(on_disk(folder), folder, disk=disk)
    assert_same(whole, trained)
    told = [event["event"] for event in trained.events if event["event"] in ("paused", "unpaused", "state")]
    assert told[:3] == ["paused", "unpaused", "state"]
    assert told.count("paused") == 1
    assert "no room for a state" in trained.told("paused")[0]["text"]


@pytest.mark.usefixtures("mountable")
@pytest.mark.parametrize("room", [100_000, 8_192, 0])
def test_so_does_one_that_fills_while_a_state_is_written(room: int, trainings: Trainings, whole: Trained) -> None:
    folder = trainings.new()
    size = SPARE + 10 * MIB
    disk = SmallDisk(size=size, filler=size - 4096 * (1 + room // 4096), unseen=2)
    trained = trainings.train(on_disk(folder), folder, disk=disk)
    assert_same(whole, trained)
    assert len(trained.told("paused")) == len(trained.told("unpaused")) == 1
    assert not list((folder / "left").rglob(".writing-*"))


@pytest.mark.usefixtures("mountable")
@pytest.mark.parametrize("room", [40_000, 0])
def test_so_does_one_that_fills_while_a_checkpoint_is_written(room: int, trainings: Trainings, whole: Trained) -> None:
    folder = trainings.new()
    size = SPARE + 10 * MIB
    disk = SmallDisk(size=size, filler=size - 4096 * (1 + room // 4096), unseen=1)
    options = f"--states_every_minutes 0 --disk_patience 20 --output_dir {folder / 'disk'}"
    trained = trainings.train(options, folder, disk=disk)
    assert trained.exit_code == 0, trained.log
    assert "no room for lora-000001.safetensors" in trained.told("paused")[0]["text"]
    assert len(trained.told("unpaused")) == 1
    assert Trained(folder / "left", 0).loras == whole.loras


@pytest.mark.usefixtures("mountable")
def test_patience_ends_with_the_last_state_intact(trainings: Trainings, whole: Trained, state_bytes: int) -> None:
    folder = trainings.new()
    disk = SmallDisk(size=SPARE + state_bytes * 3 // 2, makes_room=False)
    failed = trainings.train(on_disk(folder, "--disk_patience 0.5"), folder, disk=disk)
    assert failed.exit_code == 1
    last = failed.events[-1]
    assert (last["event"], last["reason"]) == ("training-failed", "disk-full")
    assert last["fix"]
    states = folder / "left" / "states"
    assert [path.name for path in states.iterdir()] == ["step-00000004"]
    shutil.copytree(states, folder / "states")
    (folder / "disk" / "states").mkdir(exist_ok=True)
    assert_same(whole, trainings.train("--states_every_steps 4", folder))


@pytest.mark.usefixtures("mountable")
def test_an_older_state_makes_room_for_a_new_one(trainings: Trainings, whole: Trained, state_bytes: int) -> None:
    folder = trainings.new()
    disk = SmallDisk(size=SPARE + state_bytes * 5 // 2, makes_room=False)
    trained = trainings.train(on_disk(folder, "--states_keep_last 3 --disk_patience 0.5"), folder, disk=disk)
    assert_same(whole, trained)
    assert not trained.told("paused")
    assert len(list((folder / "left" / "states").iterdir())) == 2


def stopped_after(trainings: Trainings, step: int) -> Path:
    """A folder with states of every second step up to `step`."""
    folder = trainings.new()
    moment = Moment(step, ("reporting.start_clock",), signal.SIGTERM)
    trainings.train("--states_every_steps 2", folder, [moment])
    assert (folder / "states" / f"step-{step:08}").is_dir()
    return folder


@pytest.mark.parametrize("keep", [1, 2])
def test_a_state_that_lost_its_end_is_passed_over(keep: int, trainings: Trainings, whole: Trained) -> None:
    folder = stopped_after(trainings, 6)
    newest = folder / "states" / "step-00000006" / "state.pt"
    with newest.open("r+b") as file:
        file.truncate(newest.stat().st_size // 2)
    trained = trainings.train(f"--states_every_steps 5 --states_keep_last {keep}", folder)
    assert trained.told("training-begun")[-1]["step"] == 4
    assert trained.loras == whole.loras
    assert trained.losses == whole.losses
    kept = ["step-00000020", "step-00000021"]
    assert sorted(path.name for path in (folder / "states").iterdir()) == kept[-keep:]


def test_a_damaged_state_does_not_push_out_whole_ones(trainings: Trainings) -> None:
    folder = stopped_after(trainings, 6)
    newest = folder / "states" / "step-00000006" / "state.json"
    newest.write_text("", encoding="utf-8")
    stop = Moment(1, ("reporting.start_clock",), signal.SIGTERM)
    trained = trainings.train("--states_keep_last 1", folder, [stop])
    assert trained.told("training-begun")[-1]["step"] == 4
    assert [path.name for path in (folder / "states").iterdir()] == ["step-00000005"]


def test_a_state_whose_bytes_changed_is_refused_by_name(trainings: Trainings) -> None:
    folder = stopped_after(trainings, 4)
    state = folder / "states" / "step-00000004"
    content = bytearray((state / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (state / "state.pt").write_bytes(content)
    refused = trainings.train("", folder)
    assert refused.exit_code == 1
    last = refused.events[-1]
    assert (last["event"], last["reason"]) == ("training-failed", "error")
    assert str(state) in last["text"]
    assert str(state) in last["fix"]
    assert state.is_dir()


def test_what_a_killed_process_was_writing_goes_away(trainings: Trainings, whole: Trained) -> None:
    folder = stopped_after(trainings, 4)
    left = folder / "states" / ".writing-step-00000006"
    shutil.copytree(folder / "states" / "step-00000004", left)
    assert trainings.train("", folder).loras == whole.loras
    assert not left.exists()


def test_a_finished_training_started_again_writes_the_same_files(trainings: Trainings) -> None:
    """As after a kill between the last state and the last file."""
    trained = trainings.train()
    before = trained.loras
    (trained.folder / "lora.safetensors").unlink()
    again = trainings.train(folder=trained.folder)
    assert again.exit_code == 0, again.log
    assert again.loras == before
    assert again.told("training-begun")[-1]["step"] == 3 * BATCHES
    assert len(again.told("train-step")) == 3 * BATCHES


def spoilt(trainings: Trainings, stems: Iterable[str]) -> Path:
    """The job, with latents of these items that are no numbers."""
    job = trainings.new() / "job"
    shutil.copytree(trainings.job, job)
    for stem in stems:
        (file,) = job.glob(f"cache/*/{stem}_*_wan.safetensors")
        content = file.read_bytes()
        data = 8 + struct.unpack("<Q", content[:8])[0]
        file.write_bytes(content[:data] + b"\xff" * (len(content) - data))
    return job


def numbers(tensors: dict[str, bytes]) -> list[float]:
    return [value for data in tensors.values() for (value,) in struct.iter_unpack("<f", data)]


@pytest.mark.parametrize(
    "options",
    ["", "--gradient_accumulation_steps 2", "--ema_decay 0.9 --max_grad_norm 0", "--speed fast --ema_decay 0.9"],
)
def test_a_batch_without_a_finite_loss_teaches_nothing_and_ruins_nothing(options: str, trainings: Trainings) -> None:
    job = spoilt(trainings, "y")
    trained = trainings.train(options, job=job)
    assert trained.exit_code == 0, trained.log
    skipped = [event for event in trained.told("train-step") if event.get("skipped")]
    assert len(skipped) == 3
    assert {event["loss"] for event in skipped} == {"nan"}
    assert [event["text"] for event in trained.told("warning")] == [
        f"the loss of step {event['step']} is no finite number; its update was left out" for event in skipped
    ]
    for tensors in trained.loras.values():
        assert all(map(math.isfinite, numbers(tensors)))
    assert any(numbers(trained.loras["lora.safetensors"]))


@pytest.mark.parametrize("speed", ["reference", "fast"])
def test_too_many_in_a_row_end_the_training_and_name_the_step(speed: str, trainings: Trainings) -> None:
    job = spoilt(trainings, "abcdefg")
    failed = trainings.train(f"--max_nan_steps 2 --speed {speed}", job=job)
    assert failed.exit_code == 1
    steps = failed.told("train-step")
    assert [step.get("skipped", False) for step in steps[-2:]] == [True, True]
    last = failed.events[-1]
    assert (last["event"], last["reason"], last["step"]) == ("training-failed", "nan", steps[-1]["step"])
    assert f"step {steps[-1]['step']};" in last["text"]
    assert "learning_rate" in last["fix"]
    assert len(failed.told("warning")) == sum(step.get("skipped", False) for step in steps)


@pytest.mark.parametrize("options", ["", "--max_grad_norm 0", "--gradient_accumulation_steps 2", "--speed fast"])
def test_a_gradient_that_is_no_number_is_left_out_too(options: str, trainings: Trainings) -> None:
    trained = trainings.train(options, spoilt_gradients=[4, 9])
    assert trained.exit_code == 0, trained.log
    skipped = [event["step"] for event in trained.told("train-step") if event.get("skipped")]
    assert len(skipped) == 2
    assert [event["text"] for event in trained.told("warning")] == [
        f"a gradient of step {step} is no finite number; its update was left out" for step in skipped
    ]
    assert all(map(math.isfinite, trained.losses.values()))
    assert all(map(math.isfinite, numbers(trained.loras["lora.safetensors"])))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("wan_train_network.py", "wan_train_network.py"),
        ("dataset/cache_io.py", "dataset/"),
        ("networks/lora_wan.py", "networks/"),
    ],
)
def test_another_musubi_is_refused_by_name_before_anything_is_loaded(
    changed: str,
    named: str,
    trainings: Trainings,
    musubi_python: Path,
    musubi_checkout: Path,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    shutil.copytree(musubi_checkout / "src", tmp_path / "src")
    with (tmp_path / "src" / "musubi_tuner" / changed).open("a", encoding="utf-8") as file:
        file.write("# one line more\n")
    folder = trainings.new()
    command = [str(musubi_python), "-X", "importtime", str(TRAINER), *trainings.options(folder)]
    own = environment | {"PYTHONPATH": str(tmp_path / "src")}
    began = time.monotonic()
    refused = subprocess.run(command, cwd=trainings.job, env=own, capture_output=True, text=True)
    assert time.monotonic() - began < 20
    assert refused.returncode == 1
    (event,) = Trained(folder, 1).events
    assert (event["event"], event["reason"]) == ("training-failed", "wrong-musubi")
    assert f"differs in {named}" in event["text"]
    assert f"differs in {named}" in refused.stderr
    imported = {line.rsplit("|", 1)[-1].strip() for line in refused.stderr.splitlines() if "import time" in line}
    assert not {"torch", "musubi_tuner.wan_train_network"} & imported
