from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from wan22lora.run import alive

from ..living import pid_alive
from .conftest import SOURCE, Box, Boxes

RUN = """\
name: paper
preset: article-wan22
images: pictures
train: {optimizer: prodigyopt.Prodigy, learning_rate: 1.0}
"""


def marker(box: Box) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((box.checkout / ".venv" / ".wan22lora.json").read_text(encoding="utf-8"))
    return value


def packages(box: Box) -> set[str]:
    found = (box.checkout / ".venv").rglob("*.dist-info")
    return {path.name.removesuffix(".dist-info").lower() for path in found}


def tree(path: Path) -> dict[str, tuple[int, int]]:
    return {str(file.relative_to(path)): (file.lstat().st_mtime_ns, file.lstat().st_size) for file in path.rglob("*")}


def test_a_fresh_box_is_set_up_with_venv_and_pip_and_a_second_setup_changes_nothing(box: Box) -> None:
    done = box.setup()
    assert done.exit_code == 0, done.output
    assert box.git("rev-parse", "HEAD") == box.origin.pin
    assert box.git("status", "--porcelain") == ""
    assert "torch 2.7.1 computes on Test GPU; musubi-tuner's programs can be imported" in done.output
    assert marker(box)["state"] == "done"
    assert marker(box)["torch"] == ["torch==2.7.1", "torchvision==0.22.1"]
    assert {"torch-2.7.1", "torchvision-0.22.1", "musubi_tuner-0.3.4"} <= packages(box)
    assert f"musubi: {box.checkout}\n" in box.machine_yaml.read_text(encoding="utf-8")
    assert f"musubi_python: {box.checkout}/.venv/bin/python\n" in box.machine_yaml.read_text(encoding="utf-8")
    log = (box.data / "logs" / "setup-001.log").read_text(encoding="utf-8")
    assert "Successfully installed torch-2.7.1" in log
    before = tree(box.checkout)
    again = box.setup()
    assert again.exit_code == 0, again.output
    assert "  $ " not in again.output
    assert tree(box.checkout) == before


def test_with_uv_on_path_the_environment_is_made_by_uv(boxes: Boxes, tmp_path: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        target = tmp_path / "uv"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "uv"]
        if subprocess.run(command, capture_output=True, timeout=120).returncode:
            pytest.skip("uv is not here and cannot be installed")
        uv = str(target / "bin" / "uv")
    box = boxes.box()
    offline = f'case "$1" in pip) set -- "$@" --no-index;; esac; exec {uv} "$@"'  # UV_NO_INDEX yields to --index-url
    (box.path / "bin" / "uv").write_text(f"#!/bin/sh\n{offline}\n", encoding="utf-8")
    (box.path / "bin" / "uv").chmod(0o755)
    done = box.setup()
    assert done.exit_code == 0, done.output
    assert "uv venv" in done.output
    assert {"torch-2.7.1", "musubi_tuner-0.3.4"} <= packages(box)
    more = box.setup("--article")
    assert more.exit_code == 0, more.output
    assert {"torch-2.7.0", "xformers-0.0.30"} <= packages(box)


def test_a_dry_run_prints_everything_and_touches_nothing(quick_box: Box) -> None:
    before = tree(quick_box.path)
    process = quick_box.start("--dry-run")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert tree(quick_box.path) == before
    for part in ("git clone", quick_box.origin.pin, "--index-url https://download.pytorch.org/whl/cu128", "28.6 GB"):
        assert part in output


@pytest.mark.skipif(sys.platform != "linux", reason="the page shows Linux's folders")
def test_the_transcript_in_the_docs_is_current() -> None:
    script = SOURCE.parent / "scripts" / "setup_transcript.py"
    environment = {"PYTHONPATH": str(SOURCE), "PYTHONUTF8": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    page = (SOURCE.parent / "docs" / "fresh-box.md").read_text(encoding="utf-8")
    assert f"```text\n{done.stdout}```" in page, "run: python scripts/setup_transcript.py docs/fresh-box.md"


def test_nobody_to_ask_is_refused_before_anything_happens(quick_box: Box) -> None:
    process = quick_box.start()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "wan22lora setup --yes" in output
    assert not quick_box.data.exists()


def test_without_a_gpu_setup_asks_for_the_build_of_torch(quick_box: Box) -> None:
    del quick_box.environment["TEST_GPU"]
    refused = quick_box.setup()
    assert refused.exit_code == 4
    assert "no NVIDIA GPU answers here" in refused.output
    assert "--torch cu128" in refused.output
    assert not quick_box.checkout.exists()
    done = quick_box.setup("--torch", "cu124")
    assert done.exit_code == 0, done.output
    assert "torch 2.6.0 sees no GPU here" in done.output
    kept = quick_box.setup()  # what is there is kept, where nothing speaks against it
    assert kept.exit_code == 0, kept.output
    assert "it holds what is needed" in kept.output


def test_the_articles_environment(quick_box: Box) -> None:
    done = quick_box.setup("--article")
    assert done.exit_code == 0, done.output
    assert {"torch-2.7.0", "torchvision-0.22.0", "xformers-0.0.30", "protobuf-6.0", "six-1.17"} <= packages(quick_box)


def test_what_a_run_needs_is_added_to_the_environment_that_is_there(quick_box: Box) -> None:
    assert quick_box.setup().exit_code == 0
    made = (quick_box.checkout / ".venv" / "pyvenv.cfg").stat().st_mtime_ns
    (quick_box.path / "run.yaml").write_text(RUN, encoding="utf-8")
    done = quick_box.setup("run.yaml")
    assert done.exit_code == 0, done.output
    assert "it lacks xformers==0.0.31.post1, prodigyopt" in done.output
    assert {"xformers-0.0.31.post1", "prodigyopt-1.1.2"} <= packages(quick_box)
    assert (quick_box.checkout / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == made
    assert "it holds what is needed" in quick_box.setup("run.yaml").output
    assert "it holds what is needed" in quick_box.setup().output


def test_an_environment_whose_python_is_gone_is_made_anew(quick_box: Box) -> None:
    assert quick_box.setup().exit_code == 0
    (quick_box.checkout / ".venv" / "bin" / "python").unlink()
    done = quick_box.setup()
    assert done.exit_code == 0, done.output
    assert "its Python does not start" in done.output


def test_an_environment_of_ones_own_is_used_and_never_changed(quick_box: Box) -> None:
    assert quick_box.setup().exit_code == 0
    (quick_box.checkout / ".venv" / ".wan22lora.json").unlink()
    next((quick_box.checkout / ".venv").rglob("cv2.py")).unlink()
    before = tree(quick_box.checkout / ".venv")
    done = quick_box.setup()
    assert done.exit_code == 4
    assert "cv2: ModuleNotFoundError" in done.output
    assert tree(quick_box.checkout / ".venv") == before


def test_a_checkout_with_changes_at_another_commit_is_refused(quick_box: Box) -> None:
    quick_box.clone(quick_box.origin.old)
    changed = quick_box.checkout / "src" / "musubi_tuner" / "part_01.py"
    changed.write_text("MINE = 1\n", encoding="utf-8")
    done = quick_box.setup()
    assert done.exit_code == 4
    assert "changes that are in no commit (src/musubi_tuner/part_01.py)" in done.output
    assert changed.read_text(encoding="utf-8") == "MINE = 1\n"
    assert quick_box.git("rev-parse", "HEAD") == quick_box.origin.old


def test_a_commit_of_ones_own_on_no_branch_is_not_left(quick_box: Box) -> None:
    quick_box.clone(quick_box.origin.old)
    quick_box.git("commit", "--quiet", "--allow-empty", "--message", "mine")
    mine = quick_box.git("rev-parse", "HEAD")
    done = quick_box.setup()
    assert done.exit_code == 4
    assert "its commit is on no branch" in done.output
    quick_box.git("branch", "mine")
    assert quick_box.setup().exit_code == 0
    assert quick_box.git("rev-parse", "HEAD", "mine").split() == [quick_box.origin.pin, mine]


def test_what_git_left_when_it_was_killed_between_two_commits_is_put_right(quick_box: Box) -> None:
    quick_box.clone(quick_box.origin.old)
    (quick_box.checkout / ".git" / "wan22lora-moving.json").write_text("{}", encoding="utf-8")
    (quick_box.checkout / ".git" / "index.lock").touch()
    (quick_box.checkout / "src" / "musubi_tuner" / "part_01.py").write_text("NUMB", encoding="utf-8")
    done = quick_box.setup()
    assert done.exit_code == 0, done.output
    assert "an earlier setup was stopped on the way" in done.output
    assert quick_box.git("rev-parse", "HEAD") == quick_box.origin.pin
    assert quick_box.git("status", "--porcelain") == ""


def test_changes_at_the_pinned_commit_are_told_and_left(quick_box: Box) -> None:
    quick_box.clone(quick_box.origin.pin)
    changed = quick_box.checkout / "src" / "musubi_tuner" / "part_01.py"
    changed.write_text("MINE = 1\n", encoding="utf-8")
    done = quick_box.setup()
    assert done.exit_code == 0
    assert "has changes that are in no commit" in done.output
    assert changed.read_text(encoding="utf-8") == "MINE = 1\n"


def test_a_folder_that_is_no_checkout_is_refused(quick_box: Box) -> None:
    quick_box.checkout.mkdir(parents=True)
    (quick_box.checkout / "notes.txt").write_text("mine", encoding="utf-8")
    done = quick_box.setup()
    assert done.exit_code == 4
    assert "is no git checkout" in done.output
    assert [path.name for path in quick_box.checkout.iterdir()] == ["notes.txt"]


def test_a_commit_that_no_branch_leads_to_is_fetched_by_its_name(quick_box: Box) -> None:
    done = quick_box.setup(TEST_PIN=quick_box.origin.hidden)
    assert done.exit_code == 0, done.output
    assert quick_box.git("rev-parse", "HEAD") == quick_box.origin.hidden


def test_a_checkout_elsewhere_has_its_own_environment(quick_box: Box) -> None:
    quick_box.clone(quick_box.origin.old)
    quick_box.machine_yaml.write_text(f"musubi_python: {quick_box.checkout}/.venv/bin/python\n", encoding="utf-8")
    other = quick_box.path / "workspace" / "musubi"
    done = quick_box.setup("--musubi", str(other))
    assert done.exit_code == 0, done.output
    assert f"musubi_python: {other}/.venv/bin/python" in quick_box.machine_yaml.read_text(encoding="utf-8")
    assert (other / ".venv" / ".wan22lora.json").exists()


@pytest.mark.parametrize(
    ("words", "environment", "parts"),
    [
        (
            ("--musubi-repo", "file:///nowhere/musubi.git"),
            {},
            ("git clone", "There is no repository at this address", "setup-001.log"),
        ),
        ((), {"TEST_PIN": "1" * 40}, ("fetch", "does not have the pinned commit")),
    ],
    ids=["no repository", "no such commit"],
)
def test_a_failing_command_is_told_with_its_cause_and_log(
    quick_box: Box, words: tuple[str, ...], environment: dict[str, str], parts: tuple[str, ...]
) -> None:
    done = quick_box.setup(*words, **environment)
    assert done.exit_code == 4
    for part in parts:
        assert part in done.output
    assert "Traceback" not in done.output
    assert not quick_box.machine_yaml.exists()


def test_a_second_setup_meanwhile_is_refused(quick_box: Box) -> None:
    quick_box.data.mkdir(parents=True)
    with FileLock(quick_box.data / "setup.lock"):
        done = quick_box.setup()
    assert done.exit_code == 4
    assert "Another setup is at work" in done.output
    assert not quick_box.checkout.exists()


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_setup_says_how_to_go_on(quick_box: Box, number: int, exit_code: int) -> None:
    process = quick_box.start("--yes", "--no-models", "--musubi-repo", quick_box.origin.url)
    assert process.stdout is not None
    for line in process.stdout:
        if "uv pip install" in line:
            break
    process.send_signal(number)
    output = process.stdout.read()
    assert process.wait() == exit_code
    assert f"wan22lora setup --no-models --musubi-repo {quick_box.origin.url} goes on from here" in output
    assert "This is a bug" not in output
    assert quick_box.setup().exit_code == 0


def test_what_a_killed_setup_left_running_is_waited_for(quick_box: Box) -> None:
    quick_box.data.mkdir(parents=True)
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1.5)"], start_new_session=True)
    running = {"pid": left.pid, "birth": alive.birth(left.pid), "host": socket.gethostname()}
    (quick_box.data / "setup-running.json").write_text(json.dumps(running), encoding="utf-8")
    process = quick_box.start("--yes", "--no-models", "--musubi-repo", quick_box.origin.url)
    assert process.wait(timeout=30) == 0
    assert not pid_alive(left.pid)
    left.wait()
