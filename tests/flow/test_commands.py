"""The smaller commands, and the mistakes that people make at a prompt."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from wan22lora.spec.presets import preset_names
from wan22lora.spec.template import wants_clips

from .captions.vision_server import vision
from .conftest import Place

ROOT = Path(__file__).parents[2]


def source_of(preset: str, clips: Path) -> tuple[str, ...]:
    """The options of init that name what is trained on, and the word that is in all of its captions."""
    if wants_clips(preset):
        return ("--videos", str(clips), "--trigger", "zxq")
    return ("--images", "pictures", "--trigger", "paperworld")


@pytest.mark.parametrize("preset", preset_names())
def test_init_writes_what_fits_the_schema_and_can_be_planned_with_every_comment(
    place: Place, preset: str, clips: Path
) -> None:
    source = source_of(preset, clips)
    done = place.wan22lora("init", "--preset", preset, *source, "--name", "new", "-o", "new.yaml")
    assert done.exit_code == 0, done.stderr
    assert "--rehearse" in done.stdout
    text = (place.path / "new.yaml").read_text(encoding="utf-8")
    schema_file = re.search(r"\$schema=(\S+)", text)
    assert schema_file is not None
    schema = json.loads((place.path / schema_file[1]).read_text(encoding="utf-8"))
    jsonschema.validate(YAML(typ="safe").load(text), schema)
    planned = place.wan22lora("train", "new.yaml", "--dry-run")
    assert planned.exit_code == 0, planned.stderr
    place.write(re.sub(r"(?m)^  # (?!lr_scheduler_min_lr_ratio)", "  ", text), "new.yaml")
    uncommented = place.wan22lora("train", "new.yaml", "--dry-run")
    assert uncommented.exit_code == 0, uncommented.stderr


def test_init_overwrites_nothing(place: Place) -> None:
    before = (place.path / "run.yaml").read_text()
    done = place.wan22lora("init", "--preset", "style", "--images", "pictures", "--name", "x")
    assert done.exit_code == 2
    assert (place.path / "run.yaml").read_text() == before


def test_init_asks_for_the_trigger_that_a_preset_builds_on(place: Place) -> None:
    done = place.wan22lora("init", "--preset", "person", "--images", "pictures", "--name", "new", "-o", "new.yaml")
    assert done.exit_code == 2
    assert "--trigger WORD" in done.stderr
    assert not (place.path / "new.yaml").exists()


def test_a_new_run_of_a_person_rehearses(place: Place, clips: Path) -> None:
    source = source_of("person", clips)
    place.wan22lora("init", "--preset", "person", *source, "--name", "new", "-o", "new.yaml")
    done = place.wan22lora("train", "new.yaml", "--rehearse")
    assert done.exit_code == 0, done.output


def test_init_without_a_terminal_says_what_it_needs(place: Place) -> None:
    done = place.wan22lora("init")
    assert done.exit_code == 2
    assert "wan22lora init --preset style" in done.stderr


def test_presets_are_listed_and_shown(place: Place) -> None:
    listed = place.wan22lora("presets", "list").stdout
    assert all(name in listed for name in preset_names())
    shown = place.wan22lora("presets", "show", "character").stdout
    assert "learning_rate: 3e-4" in shown
    wrong = place.wan22lora("presets", "show", "caracter")
    assert (wrong.exit_code, "did you mean `character`?" in wrong.stderr) == (2, True)


def test_schema_prints_a_valid_json_schema(place: Place) -> None:
    schema = json.loads(place.wan22lora("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "learning_rate" in schema["$defs"]["TrainSettings"]["properties"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("trian", "run.yaml"), "trian"),
        (("train", "nothing.yaml"), "no such file"),
        (("train", "run.yaml", "--only", "middle"), "middle"),
        (("train", "run.yaml", "--json"), "--dry-run"),
        (("cache", "run.yaml", "--json"), "--list, --why or --dry-run"),
        (("train", "run.yaml", "--force=cook"), "cook is no step; steps: cache-latents, cache-text"),
        (("train", "run.yaml", "--force", "cache"), "cache is no step; steps: cache-latents, cache-text"),
        (("train", "--force", "train-hihg", "run.yaml"), "train-hihg is no step"),
        (("status", "run.yml"), "did you mean run.yaml?"),
        (("check", "pictrues"), "did you mean pictures?"),
        (("captions", "find", "pictrues", "a"), "did you mean pictures?"),
        (("cache", "run.yaml", "--only-text", "--only-latents"), "one of"),
    ],
)
def test_a_wrong_command_line_is_answered_with_exit_2_and_no_traceback(
    place: Place, argv: tuple[str, ...], said: str
) -> None:
    done = place.wan22lora(*argv)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "Value error" not in done.stderr


def test_a_misspelt_key_is_one_line_with_its_place(place: Place) -> None:
    place.write("name: paper\npreset: style\nimages: pictures\ntrain:\n  learning_rat: 1e-4\n")
    done = place.wan22lora("train", "run.yaml", "--rehearse")
    assert done.exit_code == 2
    assert "run.yaml:5:3 train.learning_rat: there is no such key" in done.stderr
    assert "did you mean `learning_rate`?" in done.stderr


def test_commands_of_the_readme_and_the_docs_work(place: Place) -> None:
    commands = [
        command
        for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for command in re.findall(r"\$ wan22lora ([^#\n]+)", block)
    ]
    assert len(commands) >= 5
    (place.path / "run.yaml").unlink()
    with zipfile.ZipFile(place.path / "answers.zip", "w") as archive:
        for index in range(18):
            archive.writestr(f"{index:02d}.txt", f"a house with dark hair, number {index}")
    with vision() as model:
        for command in commands:
            argv = shlex.split(command)
            if argv[0] in ("train", "cache") and "--dry-run" not in argv:
                argv.append("--rehearse")
            if argv[0] == "captions" and argv[1] in ("import", "write", "replace", "apply"):
                argv.append("--yes")
            if argv[:2] == ["captions", "write"]:
                argv[argv.index("--endpoint") + 1] = model.url
                for file in (place.path / "pictures").glob("*.txt"):
                    file.unlink()
            done = place.wan22lora(*argv)
            assert done.exit_code == 0, f"{command}: {done.output}"
        assert len(model.asked) == 18


def test_the_reference_of_run_yaml_is_current() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "reference.py")],
        env={"PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    ).stdout
    assert (ROOT / "docs" / "run-yaml.md").read_text(encoding="utf-8") == made


@pytest.mark.skipif(sys.platform == "win32", reason="written for a POSIX shell")
@pytest.mark.parametrize("streams", ["2>&1 | head -1", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_a_run_goes_on_when_nobody_reads_it_and_exits_with_its_own_code(place: Place, streams: str) -> None:
    if "full" in streams and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    command = f"{shlex.quote(sys.executable)} -m wan22lora train run.yaml --rehearse"
    script = f"({command}; echo $? >code) {streams}"
    subprocess.run(["bash", "-c", script], cwd=place.path, env=place.environment, timeout=60, check=False)
    assert (place.path / "code").read_text().strip() == "0"
    assert len(list((place.run / "output").glob("paper-*.safetensors"))) == 2


def test_ctrl_c_before_the_program_is_read_says_nothing(place: Place) -> None:
    slow = place.path / "slow"
    slow.mkdir()
    (slow / "typer.py").write_text("import pathlib, time; pathlib.Path('begun').touch(); time.sleep(30)")
    process = place.start("--help", env={"PYTHONPATH": f"{slow}{os.pathsep}{place.environment['PYTHONPATH']}"})
    until = time.monotonic() + 30
    while not (place.path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert (stdout, stderr) == ("", "")
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("command", [("doctor",), ("setup",), ("models", "fetch"), ("models", "verify"), ("train",)])
def test_an_argument_is_bracketed_once(place: Place, command: tuple[str, ...]) -> None:
    usage = place.wan22lora(*command, "--help").stdout.splitlines()[0]
    assert "RUN.YAML" in usage or "NAME" in usage
    assert "[[" not in usage
    assert "…" not in usage


@pytest.mark.parametrize("group", [(), ("captions",), ("models",), ("presets",)])
def test_what_a_command_does_is_not_cut_off_at_80_columns(place: Place, group: tuple[str, ...]) -> None:
    place.environment["COLUMNS"] = "80"
    listed = place.wan22lora(*group, "--help").stdout.partition("Commands:")[2]
    assert listed
    assert "..." not in listed
