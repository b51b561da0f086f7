from __future__ import annotations

from pathlib import Path

import pytest

from wan22lora.errors import MachineError, SpecError
from wan22lora.machine.settings import read_machine, write_machine


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "machine.yaml"
    monkeypatch.setenv("WAN22LORA_MACHINE", str(path))
    for name in ("WAN22LORA_MUSUBI", "WAN22LORA_MUSUBI_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    return path


def test_the_first_setting_makes_the_file(settings: Path, tmp_path: Path) -> None:
    assert write_machine(models=tmp_path / "a folder: with #signs") == settings
    assert read_machine().models == tmp_path / "a folder: with #signs"


def test_comments_and_other_keys_stay(settings: Path, tmp_path: Path) -> None:
    settings.parent.mkdir()
    settings.write_text("# the big disk\nmodels: /old  # slow\nmusubi: ~/musubi\n")
    write_machine(models=tmp_path, musubi_python=tmp_path / "python")
    assert [" ".join(line.split()) for line in settings.read_text().splitlines()] == [
        "# the big disk",
        f"models: {tmp_path} # slow",
        "musubi: ~/musubi",
        f"musubi_python: {tmp_path / 'python'}",
    ]


def test_a_file_of_comments_alone_keeps_them(settings: Path) -> None:
    settings.parent.mkdir()
    settings.write_text("# models: here")
    write_machine(models=Path("/m"))
    assert settings.read_text() == "# models: here\nmodels: /m\n"


def test_a_file_that_cannot_be_used_is_left_alone(settings: Path) -> None:
    settings.parent.mkdir()
    settings.write_text("modles: /x\n")
    with pytest.raises(SpecError):
        write_machine(models=Path("/m"))
    assert settings.read_text() == "modles: /x\n"


def test_a_disk_that_refuses_is_told(settings: Path) -> None:
    settings.parent.write_text("a file where the folder should be")
    with pytest.raises(MachineError, match="cannot be written"):
        write_machine(models=Path("/m"))


def test_a_key_that_does_not_exist_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="modles"):
        write_machine(modles=Path("/m"))


def test_half_a_tokenizer_does_not_cut_musubi_off_from_the_hub(tmp_path: Path) -> None:
    write_machine(models=tmp_path)
    repository = tmp_path / "hub" / "models--Wan-AI--Wan2.1-T2V-14B"
    (repository / "snapshots").mkdir(parents=True)
    assert read_machine().hub is None
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    assert read_machine().hub == tmp_path / "hub"


@pytest.mark.parametrize(
    ("settings", "named", "expected"),
    [
        ("musubi: /a\nmusubi_python: /env/bin/python\n", None, "/env/bin/python"),
        ("musubi: /a\nmusubi_python: /env/bin/python\n", "/a", "/env/bin/python"),
        ("musubi: /a\nmusubi_python: /env/bin/python\n", "/b", "/b/.venv/bin/python"),
        ("musubi_python: /env/bin/python\n", None, "/env/bin/python"),
        ("musubi_python: /env/bin/python\n", "/b", "/b/.venv/bin/python"),
    ],
)
def test_the_recorded_python_goes_with_the_recorded_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, named: str | None, expected: str
) -> None:
    (tmp_path / "machine.yaml").write_text(settings, encoding="utf-8")
    monkeypatch.setenv("WAN22LORA_MACHINE", str(tmp_path / "machine.yaml"))
    monkeypatch.delenv("WAN22LORA_MUSUBI", raising=False)
    monkeypatch.delenv("WAN22LORA_MUSUBI_PYTHON", raising=False)
    assert read_machine(Path(named) if named else None).python == Path(expected)


@pytest.mark.parametrize("key", ["musubi", "musubi_python", "models"])
def test_a_home_folder_that_nobody_has_is_told_with_its_line(settings: Path, key: str) -> None:
    settings.parent.mkdir()
    settings.write_text(f"# this machine\n{key}: ~nobody-of-this-name/there\n")
    with pytest.raises(SpecError) as told:
        read_machine()
    (finding,) = told.value.findings
    assert str(finding) == f"{settings}:2:1 {key}: ~nobody-of-this-name is no user's home folder here"


@pytest.mark.parametrize("variable", ["WAN22LORA_MUSUBI", "WAN22LORA_MUSUBI_PYTHON"])
def test_a_home_folder_that_nobody_has_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "~nobody-of-this-name/there")
    with pytest.raises(SpecError, match=f"{variable}: ~nobody-of-this-name is no user's home folder here"):
        read_machine()


def test_a_home_folder_that_nobody_has_is_told_with_its_option() -> None:
    with pytest.raises(SpecError, match="--musubi: ~nobody-of-this-name is no user's home folder here"):
        read_machine(Path("~nobody-of-this-name/there"))
