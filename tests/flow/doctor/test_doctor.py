"""`wan22lora doctor` as a person types it, on whatever machine this is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wan22lora.machine.nvidia import read_nvidia

from ..conftest import Place

ROOT = Path(__file__).parents[3]
without_gpu = pytest.mark.skipif(read_nvidia().driver is not None, reason="this machine has a GPU")


def checks_of(stdout: str) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(stdout)["checks"]}


@without_gpu
def test_without_a_gpu_it_says_so_in_a_sentence_and_exits_with_4(place: Place) -> None:
    done = place.wan22lora("doctor")
    assert done.exit_code == 4
    assert "FAILURE  No NVIDIA GPU can be used here" in done.stdout
    assert "things must be put right" in done.stdout.rstrip().splitlines()[-1]
    assert "Traceback" not in done.output
    assert not [line for line in done.stdout.splitlines() if len(line) > 80 and "/" not in line]
    assert done.cpu_seconds < 5


@without_gpu
def test_json_says_the_same(place: Place) -> None:
    done = place.wan22lora("doctor", "--json")
    assert done.exit_code == 4
    assert json.loads(done.stdout)["ok"] is False
    checks = checks_of(done.stdout)
    assert checks["driver"]["status"] == checks["musubi"]["status"] == checks["weights"]["status"] == "failure"
    assert checks["musubi"]["fix"] == "wan22lora setup"
    assert checks["weights"]["fix"] == "wan22lora models fetch vae t5 t2v-high t2v-low"


def test_it_changes_nothing(place: Place) -> None:
    before = sorted(str(path) for path in place.path.rglob("*"))
    place.wan22lora("doctor", "run.yaml")
    assert sorted(str(path) for path in place.path.rglob("*")) == before


def test_a_run_is_checked_too(place: Place) -> None:
    place.write("name: paper\npreset: article-wan22\nimages: pictures\ntrigger: nobody-wrote-this\n")
    checks = checks_of(place.wan22lora("doctor", "run.yaml", "--json").stdout)
    assert checks["run"]["status"] == "ok"
    assert "article-wan22" not in checks["run"]["text"]
    assert checks["musubi"]["fix"] == "wan22lora setup run.yaml"
    assert str(place.path) in checks["disk-run"]["text"]
    every = json.loads(place.wan22lora("doctor", "run.yaml", "--json").stdout)["checks"]
    assert any(check["name"] == "dataset" and check["status"] == "warning" for check in every)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: paper\npreset: style\nimages: pictures\ntrain: {learning_rat: 1}\n", "run.yaml:4:9 train.learning_rat"),
        ("name: [\n", "run.yaml"),
        ("", "run.yaml"),
        ("name: paper\npreset: style\nimages: nowhere\n", "nowhere"),
    ],
    ids=["a misspelt key", "no YAML", "empty", "no pictures"],
)
def test_a_broken_run_is_a_failing_check_and_the_others_go_on(place: Place, text: str, said: str) -> None:
    place.write(text)
    done = place.wan22lora("doctor", "run.yaml")
    assert done.exit_code == 4
    assert "Traceback" not in done.output
    assert "bug" not in done.output
    assert said in done.stdout
    assert "musubi-tuner is not there" in done.stdout


def test_a_run_that_is_not_there_is_a_failing_check(place: Place) -> None:
    done = place.wan22lora("doctor", "nothing.yaml")
    assert done.exit_code == 4
    assert "no such file" in done.stdout


def test_a_broken_machine_yaml_is_a_failing_check(place: Place) -> None:
    settings = place.write("modles: /x\n", "machine.yaml")
    done = place.wan22lora("doctor", "--json", env={"WAN22LORA_MACHINE": str(settings)})
    assert done.exit_code == 4
    assert "modles" in checks_of(done.stdout)["settings"]["text"]


def test_variables_of_the_shell_are_looked_at(place: Place) -> None:
    done = place.wan22lora("doctor", "--json", env={"LOCAL_RANK": "0"})
    assert checks_of(done.stdout)["variables"]["fix"] == "unset LOCAL_RANK"


def test_a_stray_accelerate_configuration_is_ok(place: Place) -> None:
    stray = place.path / "home" / ".cache" / "huggingface" / "accelerate" / "default_config.yaml"
    stray.parent.mkdir(parents=True)
    stray.write_text("distributed_type: DEEPSPEED\n")
    checks = checks_of(place.wan22lora("doctor", "--json").stdout)
    assert checks["accelerate-config"]["status"] == "ok"
    assert str(stray) in checks["accelerate-config"]["text"]


def made_transcript() -> str:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "doctor_transcript.py")],
        env={"PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    ).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the page shows Linux's folders")
def test_the_transcript_in_the_docs_is_current() -> None:
    page = (ROOT / "docs" / "fresh-box.md").read_text(encoding="utf-8")
    assert f"```text\n{made_transcript()}```" in page, "run: python scripts/doctor_transcript.py docs/fresh-box.md"


@without_gpu
def test_the_transcript_has_the_parts_of_what_this_machine_says(place: Place) -> None:
    """The transcript's facts are those of a made-up desktop; the command says as much of a real machine."""

    def parts(text: str) -> list[str]:
        return re.findall(r"(?m)^(?:[A-Z].*|  FAILURE  [A-Z].*)", text)

    assert parts(place.wan22lora("doctor").stdout) == parts(made_transcript())
