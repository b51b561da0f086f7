"""A setup that is killed somewhere, and the next one, which must end as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from .conftest import Box, Boxes

FRESH, MOVED = 13, 7
AT_ONCE = 2


def state(box: Box) -> dict[str, str]:
    """Everything that setup is there to make, by path; the logs tell of each attempt, so they are left out."""
    assert box.git("status", "--porcelain") == ""
    found = {"commit": box.git("rev-parse", "HEAD"), "machine.yaml": box.machine_yaml.read_text(encoding="utf-8")}
    assert not list(box.checkout.joinpath(".git").glob("*lock")) + list(
        box.checkout.joinpath(".git").glob("wan22lora*")
    )
    for folder, _, files in os.walk(box.data):
        if ".git" in Path(folder).parts or Path(folder).name == "logs":
            continue
        for name in files:
            path = Path(folder) / name
            found[str(path.relative_to(box.data))] = path.read_text(encoding="utf-8", errors="replace")
    return {name: content.replace(str(box.path), "BOX") for name, content in found.items()}


def killed_after(box: Box, seconds: float, *, power_cut: bool, **environment: str) -> bool:
    """Start a setup and kill it; with `power_cut` what it has started dies at the same moment. False: it was done."""
    process = box.start("--yes", "--no-models", "--musubi-repo", box.origin.url, **environment)
    time.sleep(seconds)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    if power_cut:
        with suppress(OSError, ValueError):
            running = json.loads((box.data / "setup-running.json").read_text(encoding="utf-8"))
            os.killpg(running["pid"], signal.SIGKILL)
    process.communicate()
    return alive


def test_a_setup_killed_at_twenty_moments_ends_as_one_that_was_not(boxes: Boxes) -> None:
    """On fresh machines, and on one that is taken from one revision to another and back."""
    expected: dict[str, dict[str, str]] = {}
    for pin in (boxes.origin.old, boxes.origin.pin):
        untouched = boxes.box(f"untouched-{pin[:7]}", quick=True)
        begun = time.monotonic()
        done = untouched.setup(TEST_PIN=pin)
        assert done.exit_code == 0, done.output
        length = time.monotonic() - begun
        expected[pin] = state(untouched)
    dice = random.Random(20)

    def kill_and_repeat(box: Box, number: int, pin: str) -> tuple[bool, str]:
        moment = 0.1 + (1.2 * length - 0.1) * dice.random()  # two at once are a little slower than one
        alive = killed_after(box, moment, power_cut=number % 2 == 1, TEST_PIN=pin)
        again = box.setup(TEST_PIN=pin)
        assert again.exit_code == 0, again.output
        assert state(box) == expected[pin], f"killed after {moment:.2f} s"
        return alive, again.output

    def fresh(number: int) -> list[tuple[bool, str]]:
        return [kill_and_repeat(boxes.box(f"killed-{number}", quick=True), number, boxes.origin.pin)]

    def moved(_: int) -> list[tuple[bool, str]]:
        box = boxes.box("moved", quick=True)
        pins = (boxes.origin.old, boxes.origin.pin)
        return [kill_and_repeat(box, number, pins[number % 2]) for number in range(MOVED)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(moved, 0), *(pool.submit(fresh, number) for number in range(FRESH))]
        outcomes = [outcome for future in futures for outcome in future.result()]
    assert len(outcomes) == FRESH + MOVED
    assert sum(alive for alive, _ in outcomes) >= len(outcomes) // 2, "most kills came too late to prove anything"
    assert any("stopped in the middle" in output for _, output in outcomes)


def test_a_setup_killed_while_pip_installs_and_one_without_packages_are_completed(box: Box) -> None:
    """The real venv and pip."""
    process = box.start("--yes", "--no-models", "--musubi-repo", box.origin.url)
    assert process.stdout is not None
    for line in process.stdout:
        if "-m venv" in line:
            break
    time.sleep(0.4)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    marker = box.checkout / ".venv" / ".wan22lora.json"
    assert json.loads(marker.read_text())["state"] == "begun"
    empty = box.path / "empty"
    empty.mkdir()
    failed = box.setup(PIP_FIND_LINKS=str(empty))
    assert failed.exit_code == 4
    assert "There is no such package for this Python and this system" in failed.output
    assert json.loads(marker.read_text())["state"] == "begun"
    done = box.setup()
    assert done.exit_code == 0, done.output
    assert "an earlier setup was stopped in the middle of it" in done.output
    assert not list(box.checkout.glob(".venv.*"))
