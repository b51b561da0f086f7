"""Both experts at the same time, as a machine with two GPUs trains them: CUDA_VISIBLE_DEVICES names two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from wan22lora.models.arriving import Arrival
from wan22lora.run.alive import group_alive
from wan22lora.run.ledger import Event, read_events

from .conftest import Place
from .test_real_launch import expert, musubi  # noqa: F401

BOTH = ("train-high", "train-low")
SLOW = {"WAN22LORA_REHEARSAL_STEP_SECONDS": "0.2"}


@pytest.fixture
def pair(place: Place) -> Place:
    place.environment["CUDA_VISIBLE_DEVICES"] = "4,6"
    return place


def events(place: Place) -> list[Event]:
    return list(read_events(place.run / "events.jsonl"))


def ends(place: Place) -> dict[str, str]:
    return {event["id"]: event["outcome"] for event in events(place) if event["event"] == "step-ended"}


def started(place: Place) -> dict[str, int]:
    """The processes that both trainings have in the latest run, once each has made two steps."""
    pids = {event["id"]: event["pid"] for event in events(place) if event["event"] == "step-started"}
    steps = [event["id"] for event in events(place) if event["event"] == "train-step"]
    return {step: pids[step] for step in BOTH if steps.count(step) >= 2 and step in pids}


def train_until_both_are_under_way(place: Place, **env: str) -> tuple[subprocess.Popen[str], dict[str, int]]:
    process = place.start("train", "run.yaml", "--rehearse", env={**SLOW, **env})
    deadline = time.monotonic() + 40
    while len(pids := started(place)) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, pids


def loras(place: Place) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (place.run / "output").glob("paper-*.safetensors")}


def losses(place: Place) -> dict[tuple[str, int], float]:
    return {(event["id"], event["step"]): event["loss"] for event in events(place) if event["event"] == "train-step"}


def test_the_experts_train_at_the_same_time_on_a_gpu_each(pair: Place) -> None:
    done = pair.wan22lora("train", "run.yaml", "--rehearse", env=SLOW)
    assert done.exit_code == 0, done.output
    assert "train-high on GPU 4 and train-low on GPU 6 train at the same time" in done.stderr
    kinds = [(event["event"], event.get("id")) for event in events(pair)]
    begun = [kinds.index(("step-started", step)) for step in BOTH]
    ended = [kinds.index(("step-ended", step)) for step in BOTH]
    assert max(begun) < min(ended)
    assert min(begun) > kinds.index(("step-ended", "cache-text"))
    assert "[3/4] train-high: step 54/54 (100%)" in done.stdout
    assert "[4/4] train-low: step 54/54 (100%)" in done.stdout
    at_once = losses(pair)
    pair.write("name: paper\npreset: article-wan22\nimages: pictures\ntrain: {epochs: 3}\nparallel: off\n")
    assert "nothing to do" in pair.wan22lora("train", "run.yaml", "--rehearse").stdout
    done = pair.wan22lora("train", "run.yaml", "--rehearse", "--restart")
    assert done.exit_code == 0, done.output
    assert "at the same time" not in done.output
    kinds = [(event["event"], event.get("id")) for event in events(pair)]
    last = {kind: index for index, kind in enumerate(kinds)}
    assert last["step-ended", "train-high"] < last["step-started", "train-low"]
    assert losses(pair) == at_once


def test_without_two_gpus_one_trains_after_the_other(place: Place) -> None:
    place.environment["CUDA_VISIBLE_DEVICES"] = "4"
    plan = json.loads(place.wan22lora("train", "run.yaml", "--dry-run", "--json").stdout)
    afters = {step["id"]: step["after"] for step in plan["steps"]}
    assert afters["train-low"] == ["cache-latents", "cache-text", "train-high"]
    assert {step["env"]["CUDA_VISIBLE_DEVICES"] for step in plan["steps"]} == {"4"}


def test_status_shows_both(pair: Place) -> None:
    process, _ = train_until_both_are_under_way(pair)
    told = pair.wan22lora("status", "run.yaml", "--rehearse").stdout
    assert "running  train-high" in told
    assert "running  train-low" in told
    shown = json.loads(pair.wan22lora("status", "run.yaml", "--rehearse", "--json").stdout)
    assert [step["id"] for step in shown["steps"] if step["status"] == "running"] == list(BOTH)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stop_saves_a_state_of_each_and_both_go_on_from_it(pair: Place, number: int, exit_code: int) -> None:
    process, _ = train_until_both_are_under_way(pair)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == exit_code, stdout + stderr
    for step in BOTH:
        assert f"Stopped during {step} at step" in stderr
        assert ends(pair)[step] == "interrupted"
        assert any((pair.run / "states" / step).glob("step-*"))
    assert stderr.count("to continue") == 1
    done = pair.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert "train-high: continues after step" in done.stdout
    assert "train-low: continues after step" in done.stdout
    interrupted = losses(pair)
    pair.wan22lora("train", "run.yaml", "--rehearse", "--restart")
    assert losses(pair) == interrupted


def test_a_second_ctrl_c_ends_both_at_once(pair: Place) -> None:
    both = ",".join(f"{step}:ignore-sigint" for step in BOTH)
    process, pids = train_until_both_are_under_way(pair, WAN22LORA_FAULT=both)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - begun < 10
    assert not any(map(group_alive, pids.values()))


def test_both_that_a_killed_run_leaves_are_waited_for(pair: Place) -> None:
    process, pids = train_until_both_are_under_way(pair)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 40
    while (done := pair.wan22lora("train", "run.yaml", "--rehearse")).exit_code == 7:
        assert time.monotonic() < deadline
    assert done.exit_code == 0, done.output
    assert not any(map(group_alive, pids.values()))
    for step in BOTH:
        assert f"{step}: continues after step" in done.stdout
        assert ends(pair)[step] == "done"


def test_one_killed_from_outside_leaves_the_other_to_its_end_and_goes_on_alone(pair: Place) -> None:
    process, pids = train_until_both_are_under_way(pair)
    os.killpg(pids["train-high"], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 5, stdout + stderr
    assert "train-high was killed by SIGKILL" in stderr
    assert ends(pair)["train-low"] == "done"
    assert list(loras(pair)) == ["paper-low.safetensors"]
    done = pair.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert "train-low: up to date" in done.stdout
    assert len(loras(pair)) == 2


@pytest.mark.parametrize("fault", ["crash@9", "nan@5", "truncated", "oom@5"])
def test_one_that_goes_wrong_leaves_the_other_to_its_end(pair: Place, fault: str) -> None:
    done = pair.wan22lora("train", "run.yaml", "--rehearse", env={"WAN22LORA_FAULT": f"train-low:{fault}"})
    assert done.exit_code == (6 if fault == "truncated" else 5), done.output
    assert "train-low" in done.stderr
    assert ends(pair)["train-high"] == "done"
    assert ends(pair)["train-low"] != "done"


def test_two_that_run_out_of_memory_are_both_tried_with_more_swapping(pair: Place) -> None:
    pair.write(
        "name: paper\npreset: article-wan22\nimages: pictures\non_oom: retry\npin: v0.3.4\n"
        "train: {epochs: 3, blocks_to_swap: 30}\n"
    )
    fault = ",".join(f"{step}:oom-load" for step in BOTH)
    done = pair.wan22lora("train", "run.yaml", "--rehearse", env={"WAN22LORA_FAULT": fault})
    assert done.exit_code == 5, done.output
    swapped = [
        (event["id"], event["argv"][event["argv"].index("--blocks_to_swap") + 1])
        for event in events(pair)
        if event["event"] == "step-started" and event["id"] in BOTH
    ]
    assert swapped == [(step, blocks) for blocks in ("30", "38") for step in BOTH]
    assert "the GPU's memory ran out for train-high" in done.stderr
    assert "the GPU's memory ran out for train-low" in done.stderr


def test_a_retry_after_a_forced_run_does_not_train_the_good_one_again(pair: Place) -> None:
    pair.write(
        "name: paper\npreset: article-wan22\nimages: pictures\non_oom: retry\npin: v0.3.4\n"
        "train: {epochs: 3, blocks_to_swap: 30}\n"
    )
    assert pair.wan22lora("train", "run.yaml", "--rehearse").exit_code == 0
    fault = {"WAN22LORA_FAULT": "train-high:oom@5"}
    assert pair.wan22lora("train", "run.yaml", "--rehearse", "--force", env=fault).exit_code == 5
    trained = [event["id"] for event in events(pair) if event["event"] == "step-started"]
    assert trained.count("train-low") == 2


def test_the_printed_script_trains_both_at_once(pair: Place) -> None:
    script = pair.wan22lora("train", "run.yaml", "--dry-run", "--rehearse").stdout
    subprocess.run(["sh", "-c", script], check=True, env={**pair.environment, **SLOW}, capture_output=True)
    assert len(loras(pair)) == 2
    assert "nothing to do" in pair.wan22lora("train", "run.yaml", "--rehearse").output
    kinds = [(event["event"], event.get("id")) for event in events(pair)]
    begun = [kinds.index(("training-begun", step)) for step in BOTH]
    ended = [kinds.index(("training-ended", step)) for step in BOTH]
    assert max(begun) < min(ended)


def test_the_printed_script_fails_when_one_of_both_does_and_lets_the_other_end(pair: Place) -> None:
    script = pair.wan22lora("train", "run.yaml", "--dry-run", "--rehearse").stdout
    environment = {**pair.environment, "WAN22LORA_FAULT": "train-high:crash@5"}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "train-high failed with exit code 1" in done.stderr
    assert list(loras(pair)) == ["paper-low.safetensors"]
    plan = json.loads(pair.wan22lora("train", "run.yaml", "--rehearse", "--dry-run", "--json").stdout)
    assert [step["id"] for step in plan["steps"] if not step["fresh"]] == ["train-high"]


def test_an_expert_whose_weights_arrive_later_joins_the_one_that_trains(musubi: Place) -> None:  # noqa: F811
    musubi.environment["CUDA_VISIBLE_DEVICES"] = "0,1"
    high, low = (musubi.path / f"wan2.2_t2v_{name}_noise_14B_fp16.safetensors" for name in ("high", "low"))
    expert(low)
    high.unlink()  # the one that is first in the plan
    arrival = Arrival(high)
    assert arrival.take()
    process = musubi.start("train", "run.yaml", env=SLOW)
    ledger = musubi.path / "runs" / "paper" / "events.jsonl"

    def told() -> str:
        return ledger.read_text() if ledger.exists() else ""

    wait_until(lambda: '"event":"train-step","id":"train-low"' in told(), process)
    assert '"event":"step-started","id":"train-high"' not in told()
    expert(high)
    arrival.leave()
    stdout, stderr = process.communicate(timeout=40)
    assert process.returncode == 0, stdout + stderr
    assert "train-high waits for wan2.2_t2v_high_noise_14B_fp16.safetensors" in stdout
    lines = told().splitlines()
    begun = next(index for index, line in enumerate(lines) if '"event":"step-started","id":"train-high"' in line)
    ended = next(index for index, line in enumerate(lines) if '"event":"step-ended","id":"train-low"' in line)
    assert begun < ended
    assert "nothing to do" in musubi.wan22lora("train", "run.yaml").stdout


def test_a_fetch_that_gives_up_leaves_the_other_expert_to_its_end(musubi: Place) -> None:  # noqa: F811
    musubi.environment["CUDA_VISIBLE_DEVICES"] = "0,1"
    low = musubi.path / "wan2.2_t2v_low_noise_14B_fp16.safetensors"
    arrival = Arrival(low)
    assert arrival.take()
    process = musubi.start("train", "run.yaml")
    output = musubi.path / "runs" / "paper" / "output"
    wait_until(lambda: (output / "paper-high.safetensors").exists(), process)
    arrival.leave()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 4
    assert str(low) in stderr


def test_a_stop_ends_the_waiting_for_weights(musubi: Place) -> None:  # noqa: F811
    musubi.environment["CUDA_VISIBLE_DEVICES"] = "0,1"
    low = musubi.path / "wan2.2_t2v_low_noise_14B_fp16.safetensors"
    arrival = Arrival(low)
    assert arrival.take()
    process = musubi.start("train", "run.yaml")
    output = musubi.path / "runs" / "paper" / "output"
    wait_until(lambda: (output / "paper-high.safetensors").exists(), process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    arrival.leave()
    assert process.returncode == 130
    assert "Stopped before train-low" in stderr


def wait_until(done: Any, process: subprocess.Popen[str], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


DDP = "name: paper\npreset: style\nimages: pictures\ntrain: {epochs: 3}\nparallel: ddp\n"


def test_one_expert_over_all_gpus_makes_fewer_steps_and_goes_on_with_as_many_gpus(pair: Place) -> None:
    pair.write(DDP)
    process = pair.start("train", "run.yaml", "--rehearse", env=SLOW)
    wait_until(lambda: sum(event["event"] == "train-step" for event in events(pair)) > 2, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stdout + stderr
    assert "train-high: started, 27 steps" in stdout
    other = pair.wan22lora("train", "run.yaml", "--rehearse", env={"CUDA_VISIBLE_DEVICES": "0,1,2"})
    assert other.exit_code == 7
    assert "--processes was 2, is 3" in other.stderr
    done = pair.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 0, done.output
    assert "train-high: continues after step" in done.stdout
    assert "[4/4] train-low: step 27/27 (100%)" in done.stdout
