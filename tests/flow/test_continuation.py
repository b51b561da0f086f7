"""A training that was stopped goes on; one that is no longer what it was waits for a decision."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.musubi.safetensors import read_header

from .conftest import Finished, Place

RUN = "name: paper\npreset: article-wan22\nimages: pictures\n"
SLOWLY = {"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.1"}


def describe(place: Place, train: str = "", experts: str = "") -> None:
    place.write(f"{RUN}train: {{states: {{every_steps: 5}}, {train or 'epochs: 3'}}}\n{experts}")


def train(place: Place, *more: str) -> Finished:
    return place.wan22lora("train", "run.yaml", "--rehearse", *more)


def stop_in(place: Place, step: str, *more: str, with_signal: signal.Signals = signal.SIGINT) -> None:
    """Starts the run and stops it as soon as that training has a state of its own."""
    process = place.start("train", "run.yaml", "--rehearse", *more, env=SLOWLY)
    deadline = time.monotonic() + 30
    while not any((place.run / "states" / step).glob("step-*")) or not (place.run / "logs").is_dir():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(with_signal)
    process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGKILL)


def learned(place: Place) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place.run / "output").glob("*.safetensors")}


def tensors(path: Path) -> bytes:
    """Without the metadata, which name the time."""
    length = int.from_bytes(path.read_bytes()[:8], "little")
    return path.read_bytes()[8 + length :]


def steps(path: Path) -> str:
    return read_header(path).metadata["ss_steps"]


@pytest.fixture
def trained(place: Place, after_command: Callable[..., None]) -> Place:
    describe(place)
    after_command("train", "run.yaml", "--rehearse")
    return place


@pytest.fixture
def cached(place: Place, after_command: Callable[..., None]) -> Place:
    describe(place)
    after_command("cache", "run.yaml", "--rehearse")
    return place


def test_a_stopped_training_goes_on_and_ends_as_if_it_never_stopped(place: Place) -> None:
    describe(place)
    stop_in(place, "train-high")
    newest = max((place.run / "states" / "train-high").glob("step-*"))
    script = train(place, "--dry-run").stdout
    assert f"# train-high: continues at step {int(newest.name[5:])} of 54" in script
    done = train(place)
    assert done.exit_code == 0, done.output
    assert f"continues at step {int(newest.name[5:])} of 54" in done.stdout
    assert not (place.run / "previous").exists()
    interrupted = {name: tensors(place.run / "output" / name) for name in learned(place)}
    assert train(place, "--restart").exit_code == 0
    assert {name: tensors(place.run / "output" / name) for name in learned(place)} == interrupted
    assert "nothing to do" in train(place).stdout


def test_a_changed_spec_is_refused_with_what_differs_in_both_experts_and_the_way_out(trained: Place) -> None:
    before = learned(trained)
    describe(trained, "epochs: 3, learning_rate: 1e-4", "experts: {low: {rank: 8}}\n")
    done = train(trained)
    assert done.exit_code == 7
    for part in (
        "train-high and train-low: learning_rate was 3e-4, is 1e-4",
        "\ntrain-low: rank was 16, is 8",
        "→ wan22lora train run.yaml --rehearse --restart",
        "nothing was started",
    ):
        assert part in done.stderr
    assert "--extend" not in done.stderr
    assert learned(trained) == before
    assert train(trained, "--only", "low").stderr.count("train-high") == 0


def test_a_dry_run_shows_the_refusal_and_its_script_leaves_the_training_alone(trained: Place) -> None:
    before = learned(trained)
    describe(trained, "epochs: 3, learning_rate: 1e-4")
    done = train(trained, "--dry-run")
    assert done.exit_code == 7
    assert "# train-high: refused: learning_rate was 3e-4, is 1e-4" in done.stdout
    assert "--restart" in done.stderr
    subprocess.run(["sh", "-c", done.stdout], check=True, env=trained.environment, capture_output=True)
    assert learned(trained) == before
    plan = json.loads(train(trained, "--dry-run", "--json").stdout)
    assert [step.get("refused") for step in plan["steps"]][2:] == [["learning_rate was 3e-4, is 1e-4"]] * 2


def test_a_restart_moves_everything_aside_and_trains_anew(trained: Place) -> None:
    describe(trained, "epochs: 3, learning_rate: 1e-4")
    done = train(trained, "--restart", "--only", "high")
    assert done.exit_code == 0, done.output
    (shelf,) = (trained.run / "previous").iterdir()
    assert {path.name for path in shelf.iterdir()} == {"paper-high.safetensors", "states"}
    key = json.loads((shelf / "states" / "key.json").read_text(encoding="utf-8"))
    assert key["--learning_rate"] == "3e-4"
    refused = train(trained)
    assert refused.exit_code == 7
    assert "train-high" not in refused.stderr
    assert train(trained, "--restart").exit_code == 0
    assert "nothing to do" in train(trained).stdout


def test_a_restart_that_is_stopped_goes_on_without_being_asked_again(trained: Place) -> None:
    describe(trained, "epochs: 3, learning_rate: 1e-4")
    process = trained.start("train", "run.yaml", "--rehearse", "--restart", env=SLOWLY)
    deadline = time.monotonic() + 30
    key = trained.run / "states" / "train-high" / "key.json"
    while not key.exists() or '"1e-4"' not in key.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    done = train(trained)
    assert done.exit_code == 0, done.output
    assert "continues at step" in done.stdout
    assert "train-low: started, 54 steps (not trained yet)" in done.stdout


def test_the_command_after_a_kill_waits_for_the_state_that_is_being_saved(cached: Place) -> None:
    stop_in(cached, "train-high", with_signal=signal.SIGKILL)
    done = train(cached)
    assert done.exit_code == 0, done.output
    assert "continues at step" in done.stdout
    if "waiting for it" in done.stdout:  # else it had ended already
        assert "train-high of a killed run is saving a state (30 s at most)" in done.stdout


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_training_is_refused_too_when_its_settings_change(cached: Place, kill: signal.Signals) -> None:
    stop_in(cached, "train-high", with_signal=kill)
    describe(cached, "epochs: 3, seed: 7")
    deadline = time.monotonic() + 30
    while "still running" in (done := train(cached)).stderr or "in use" in done.stderr:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert done.exit_code == 7
    assert "train-high: seed was 5, is 7" in done.stderr
    assert "train-low" not in done.stderr
    done = train(cached, "--restart")
    assert done.exit_code == 0, done.output
    assert "continues" not in done.stdout


def test_more_epochs_go_on_when_they_are_called_an_extension(trained: Place) -> None:
    describe(trained, "epochs: 5")
    refused = train(trained)
    assert refused.exit_code == 7
    assert "train-high and train-low: epochs was 3, is 5" in refused.stderr
    assert "→ wan22lora train run.yaml --rehearse --extend" in refused.stderr
    done = train(trained, "--extend")
    assert done.exit_code == 0, done.output
    assert "extended: epochs was 3, is 5; continues at step 54 of 90" in done.stdout
    for expert in ("high", "low"):
        assert steps(trained.run / "output" / f"paper-{expert}.safetensors") == "90"
    assert {path.name for path in (trained.run / "previous").rglob("*.safetensors")} == {
        "paper-high.safetensors",
        "paper-low.safetensors",
    }
    assert "nothing to do" in train(trained, "--extend").stdout


def test_an_extension_that_is_stopped_goes_on_with_the_command_it_names(trained: Place) -> None:
    describe(trained, "epochs: 6")
    process = trained.start("train", "run.yaml", "--rehearse", "--extend", env=SLOWLY)
    deadline = time.monotonic() + 30
    while not (trained.run / "states" / "train-high" / "step-00000060").is_dir():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert "wan22lora train run.yaml --rehearse --extend" in stderr
    done = train(trained, "--extend")
    assert done.exit_code == 0, done.output
    assert steps(trained.run / "output" / "paper-high.safetensors") == "108"


def test_an_extension_without_a_state_says_that_it_needs_one(trained: Place) -> None:
    for path in (trained.run / "states" / "train-high").rglob("state.*"):
        path.unlink()
    describe(trained, "epochs: 5")
    done = train(trained, "--extend")
    assert done.exit_code == 7
    assert "train-high: no state of it is left" in done.stderr
    assert "--restart" in done.stderr
    assert train(trained, "--extend", "--only", "low").exit_code == 0


def test_a_lost_result_is_made_again_from_the_last_state(trained: Place) -> None:
    result = trained.run / "output" / "paper-low.safetensors"
    before = tensors(result)
    result.unlink()
    done = train(trained)
    assert done.exit_code == 0, done.output
    assert "paper-low.safetensors is missing; continues at step 54 of 54" in done.stdout
    assert tensors(result) == before


def test_the_script_of_a_restart_never_continues_the_old_training(trained: Place) -> None:
    describe(trained, "epochs: 2")
    script = train(trained, "--dry-run", "--restart").stdout
    subprocess.run(["sh", "-c", script], check=True, env=trained.environment, capture_output=True)
    assert steps(trained.run / "output" / "paper-high.safetensors") == "36"
    done = train(trained)
    assert done.exit_code == 0, done.output
    assert steps(trained.run / "output" / "paper-high.safetensors") == "36"


def test_other_checkpoints_and_another_trainer_are_no_other_training(trained: Place) -> None:
    trained.write(f"{RUN}train: {{epochs: 3}}\ntrainer: plain\n")
    assert "nothing to do" in train(trained).stdout
    trained.write(f"{RUN}train: {{epochs: 3, learning_rate: 1e-4}}\ntrainer: plain\n")
    done = train(trained, "--extend")
    assert done.exit_code == 7
    assert "cannot be extended" in done.stderr
    assert train(trained).exit_code == 0
    assert not any((trained.run / "states").iterdir())


def test_an_extension_that_did_no_step_can_be_taken_back(trained: Place) -> None:
    before = learned(trained)
    describe(trained, "epochs: 6")
    fault = {"WAN22LORA_FAULT": "train-high:oom-load"}
    assert trained.wan22lora("train", "run.yaml", "--rehearse", "--extend", env=fault).exit_code == 5
    describe(trained)
    done = train(trained)
    assert done.exit_code == 0, done.output
    assert "nothing to do" in done.stdout
    assert learned(trained) == before
    describe(trained, "epochs: 6")
    assert "--extend" in train(trained).stderr
    assert train(trained, "--extend").exit_code == 0
    assert steps(trained.run / "output" / "paper-high.safetensors") == "108"
    (kept,) = (trained.run / "previous").rglob("paper-high.safetensors")
    assert kept.read_bytes() == before[kept.name]
    describe(trained)
    assert train(trained).exit_code == 7


def test_an_extension_that_writes_nothing_does_not_pass_with_the_old_result(trained: Place) -> None:
    describe(trained, "epochs: 6")
    fault = {"WAN22LORA_FAULT": "train-high:exit0"}
    done = trained.wan22lora("train", "run.yaml", "--rehearse", "--extend", env=fault)
    assert done.exit_code == 6, done.output
    describe(trained)
    assert "nothing to do" in train(trained).stdout


def test_the_way_back_from_an_extension_is_the_one_that_is_told(trained: Place) -> None:
    before = learned(trained)
    describe(trained, "epochs: 5")
    assert train(trained, "--extend").exit_code == 0
    describe(trained)
    for step in ("train-high", "train-low"):
        (shelf,) = (trained.run / "previous").glob(f"*-{step}")
        shutil.rmtree(trained.run / "states" / step)
        shutil.move(shelf / f"{step}.json", trained.run / "steps" / f"{step}.json")
        for file in shelf.iterdir():
            shutil.move(file, trained.run / "output" / file.name)
    assert "nothing to do" in train(trained).stdout
    assert {name: learned(trained)[name] for name in before} == before


def test_musubis_own_program_does_not_throw_away_a_stopped_training(cached: Place) -> None:
    stop_in(cached, "train-high")
    newest = max((cached.run / "states" / "train-high").glob("step-*"))
    cached.write(f"{RUN}train: {{epochs: 3}}\ntrainer: plain\n")
    said = f"has a state of step {int(newest.name[5:])} of the trainer extension"
    for options in ((), ("--dry-run",)):
        done = train(cached, *options)
        assert done.exit_code == 7, done.output
        assert said in done.stderr
        assert "trainer: extension" in done.stderr
        assert "--restart" in done.stderr
        assert newest.is_dir()
    assert said in done.stdout
    assert train(cached, "--restart").exit_code == 0


def play(place: Place, script: str) -> int:
    return subprocess.run(["sh", "-c", script], check=False, env=place.environment, capture_output=True).returncode


@pytest.mark.parametrize("trainer", ["extension", "plain"])
@pytest.mark.parametrize("options", [("--restart",), ("--force=train-high",), ()])
def test_a_script_moves_what_the_command_would_move(place: Place, options: tuple[str, ...], trainer: str) -> None:
    place.write(f"{RUN}train: {{epochs: 1, save_every_steps: 9}}\ntrainer: {trainer}\n")
    assert train(place).exit_code == 0
    before = learned(place)
    if not options:
        shutil.rmtree(place.run / "steps")
        shutil.rmtree(place.run / "states", ignore_errors=True)
    script = train(place, "--dry-run", *options).stdout
    assert script.count("$(date") == 1
    assert play(place, script) == 0
    forced = options == ("--force=train-high",)
    moved = {path.name: path.read_bytes() for path in (place.run / "previous").rglob("*.safetensors")}
    assert moved == {name: before[name] for name in before if "high" in name or not forced}
    assert set(learned(place)) == set(before)


def test_the_script_of_an_extension_keeps_the_result_and_can_be_taken_back(trained: Place) -> None:
    before = learned(trained)
    describe(trained, "epochs: 5")
    script = train(trained, "--dry-run", "--extend").stdout
    trained.environment["WAN22LORA_FAULT"] = "train-high:oom-load"
    assert play(trained, script) != 0
    del trained.environment["WAN22LORA_FAULT"]
    describe(trained)
    assert "nothing to do" in train(trained).stdout
    assert learned(trained) == before
    assert play(trained, script) == 0
    assert steps(trained.run / "output" / "paper-high.safetensors") == "90"
    (kept,) = (trained.run / "previous").rglob("paper-high.safetensors")
    assert kept.read_bytes() == before[kept.name]


def test_a_training_is_either_trained_again_or_extended(place: Place) -> None:
    for forced in ("--force", "--force=train-low"):
        done = train(place, "--extend", forced)
        assert done.exit_code == 2
        assert "--extend" in done.stderr


def test_a_damaged_state_is_named_and_the_one_before_it_taken(cached: Place) -> None:
    process = cached.start("train", "run.yaml", "--rehearse", env=SLOWLY)
    folder = cached.run / "states" / "train-high"
    deadline = time.monotonic() + 30
    while len(list(folder.glob("step-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    older, newest = sorted(folder.glob("step-*"))
    size = (newest / "state.pt").stat().st_size
    (newest / "state.pt").write_bytes(b"x")
    said = f"the state {newest.name} is damaged (1 byte, {size:,} expected); continues at step {int(older.name[5:])}"
    assert said in train(cached, "--dry-run").stdout
    (older / "state.pt").unlink()
    refused = train(cached)
    assert refused.exit_code == 7
    assert f"{newest.name} (1 byte, {size:,} expected)" in refused.stderr
    assert f"{older.name} (state.pt is missing)" in refused.stderr
    assert "--restart" in refused.stderr
    assert train(cached, "--restart").exit_code == 0


def test_to_begin_anew_and_to_go_on_exclude_each_other(place: Place) -> None:
    done = train(place, "--restart", "--extend")
    assert done.exit_code == 2
    assert "--extend" in done.stderr


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_first_start_that_came_to_no_state_leaves_nothing_behind(place: Place, kill: signal.Signals) -> None:
    process = place.start("train", "run.yaml", "--rehearse", env=SLOWLY)
    key = place.run / "states" / "train-high" / "key.json"
    deadline = time.monotonic() + 30
    while not key.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(kill)
    process.communicate(timeout=60)
    done = train(place)
    assert done.exit_code == 0, done.output
    assert not (place.run / "previous").exists()
