"""Plans for machines that differ in one thing; nothing is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wan22lora.machine.settings import Machine
from wan22lora.machine.space import Space
from wan22lora.machine.torch_build import Card
from wan22lora.musubi.pins import ARTICLE, DEFAULT
from wan22lora.setup import room
from wan22lora.setup.build import plan_setup
from wan22lora.setup.interpreter import Interpreter
from wan22lora.setup.model import Plan, Run
from wan22lora.setup.recorded import Recorded
from wan22lora.setup.show import plan_as_text, plan_in_short
from wan22lora.setup.survey import Checkout, Environment, Survey
from wan22lora.setup.weights import weights_step
from wan22lora.setup.wishes import Wishes, wishes_of
from wan22lora.spec.load import load_spec

MUSUBI = Path("/data/musubi-tuner")
PYTHON = MUSUBI / ".venv" / "bin" / "python"
MACHINE = Machine(MUSUBI, "the default place", PYTHON, Path("/data/models"))
FRESH = Survey(
    git="2.43.0",
    uv="",
    interpreter=Interpreter(Path("/usr/bin/python3.12"), (3, 12), True),
    gpu=Card("RTX 4090", (8, 9), (12, 8)),
    checkout=Checkout(MUSUBI, "absent"),
    environment=Environment(MUSUBI / ".venv", PYTHON, "absent", {}),
)


@pytest.fixture(autouse=True)
def roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, 200)


def set_free(monkeypatch: pytest.MonkeyPatch, gigabytes: int) -> None:
    def space(folder: Path) -> Space:
        return Space(folder, Path("/"), 1, 500 * 10**9, gigabytes * 10**9, True)

    monkeypatch.setattr(room, "space_at", space)


def plan(found: Survey, wishes: Wishes | None = None) -> Plan:
    return plan_setup(wishes or Wishes(), found, MACHINE, Recorded(Path("/config/machine.yaml"), {}), None)


def commands(found: Survey, wishes: Wishes | None = None) -> list[str]:
    made = plan(found, wishes)
    return [" ".join(action.argv) for step in made.steps for action in step.actions if isinstance(action, Run)]


def marked(**changes: Any) -> Mapping[str, Any]:
    marker = {
        "state": "done",
        "musubi": DEFAULT.revision,
        "index": "https://download.pytorch.org/whl/cu128",
        "torch": ["torch==2.7.1", "torchvision==0.22.1"],
        "packages": {"torch": [], "plain": [], "compiled": []},
    }
    return {**marker, **changes}


def with_environment(**changes: Any) -> Survey:
    environment = replace(FRESH.environment, state="done", marker=marked(**changes))
    return replace(FRESH, environment=environment, checkout=Checkout(MUSUBI, "git", head=DEFAULT.revision))


def test_a_fresh_machine_gets_a_clone_and_an_environment() -> None:
    assert not plan(FRESH).refusals
    clone, fetch, checkout, venv, torch, musubi = commands(FRESH)
    assert clone.startswith("git clone --no-checkout https://github.com/kohya-ss/musubi-tuner")
    assert fetch.endswith(DEFAULT.revision)
    assert checkout.endswith(f"--detach {DEFAULT.revision}")
    assert venv == f"/usr/bin/python3.12 -m venv {MUSUBI}/.venv"
    assert torch.endswith("--index-url https://download.pytorch.org/whl/cu128 torch==2.7.1 torchvision==0.22.1")
    assert f"-e {MUSUBI}" in musubi


def test_a_machine_that_has_everything_is_only_asked_for_proof() -> None:
    recorded = Recorded(
        Path("/config/machine.yaml"), {"musubi": MUSUBI, "musubi_python": PYTHON, "models": MACHINE.models}
    )
    made = plan_setup(Wishes(), with_environment(), MACHINE, recorded, None)
    assert made.settled
    assert [step.id for step in made.steps if not step.fresh] == ["proof"]


def test_uv_is_preferred_and_brings_a_python_where_there_is_none() -> None:
    found = replace(FRESH, uv="/usr/bin/uv", interpreter=None)
    assert not plan(found).refusals
    assert f"/usr/bin/uv venv --allow-existing --python >=3.10,<3.13 {MUSUBI}/.venv" in commands(found)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(FRESH, git=""), "apt-get install git"),
        (replace(FRESH, interpreter=None), "pip install uv"),
        (
            replace(FRESH, interpreter=Interpreter(Path("/usr/bin/python3.10"), (3, 10), False)),
            "apt-get install python3.10-venv",
        ),
        (replace(FRESH, gpu=None), "--torch cu128"),
        (replace(FRESH, gpu=Card("RTX 5090", (12, 0), (12, 4))), "570 or newer"),
        (replace(FRESH, checkout=Checkout(MUSUBI, "not-git")), "--musubi"),
        (
            replace(FRESH, checkout=Checkout(MUSUBI, "refused", problem="fatal: detected dubious ownership")),
            f"safe.directory {MUSUBI}",
        ),
        (
            replace(FRESH, checkout=Checkout(MUSUBI, "git", head="1" * 40, changed=("a.py", "b.py", "c.py", "d.py"))),
            "(a.py, b.py, c.py and 1 more)",
        ),
        (replace(FRESH, checkout=Checkout(MUSUBI, "git", head="1" * 40, nameless=True)), "branch mine"),
        (
            replace(FRESH, environment=Environment(Path("/gone"), Path("/gone/bin/python"), "own", {})),
            "WAN22LORA_MUSUBI_PYTHON",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_stands_against_a_setup_is_told_with_the_way_out(found: Survey, words: str) -> None:
    (refusal,) = plan(found).refusals
    assert words in str(refusal)


@pytest.mark.parametrize(
    ("checkout", "command"),
    [
        (Checkout(Path("/my data/musubi"), "git", head="1" * 40, changed=("a.py",)), "git -C '/my data/musubi' stash"),
        (
            Checkout(Path("/my data/musubi"), "git", head="1" * 40, nameless=True),
            "git -C '/my data/musubi' branch mine",
        ),
        (
            Checkout(Path("/my data/musubi"), "refused", problem="fatal: detected dubious ownership"),
            "git config --global --add safe.directory '/my data/musubi'",
        ),
    ],
)
def test_what_to_type_can_be_pasted_where_a_folder_has_spaces(checkout: Checkout, command: str) -> None:
    (refusal,) = plan(replace(FRESH, checkout=checkout)).refusals
    assert refusal.fix.startswith(command)


def test_a_disk_that_is_too_small_is_refused_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, 10)
    (refusal,) = plan(FRESH).refusals
    assert "3.6 GB are missing" in str(refusal)
    assert "its environment 9.0" in str(refusal)


def test_a_disk_that_is_too_small_names_the_weight_files_that_no_run_would_miss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_free(monkeypatch, 10)
    wrong = tmp_path / "vae" / "wan_2.1_vae.safetensors"
    wrong.parent.mkdir()
    wrong.write_bytes(bytes(4_000_000))
    machine, weights = replace(MACHINE, models=tmp_path), weights_step(Wishes(), tmp_path)
    (refusal,) = plan_setup(Wishes(), FRESH, machine, Recorded(Path("/config/machine.yaml"), {}), weights).refusals
    assert refusal.fix.startswith(f"rm {wrong}  frees 4.0 MB: it ")


def test_an_environment_for_another_revision_or_torch_is_made_anew() -> None:
    for change in ({"musubi": ARTICLE.revision}, {"torch": ["torch==2.5.0"]}):
        (environment,) = (step for step in plan(with_environment(**change)).steps if step.id == "environment")
        assert not environment.fresh
        assert "it was made for" in environment.why


def test_a_build_that_runs_is_kept_though_a_newer_one_would_fit() -> None:
    found = replace(with_environment(), gpu=Card("RTX 4090", (8, 9), (13, 0)))
    assert plan(found).steps[1].fresh


def test_a_build_that_cannot_run_on_a_new_gpu_is_replaced() -> None:
    marker = marked(index="https://download.pytorch.org/whl/cu124", torch=["torch==2.6.0", "torchvision==0.21.0"])
    found = replace(with_environment(), gpu=Card("RTX 5090", (12, 0), (12, 9)))
    found = replace(found, environment=replace(found.environment, marker=marker))
    assert any("torch==2.7.1" in command for command in commands(found))


def test_the_articles_environment_has_its_versions() -> None:
    wishes = wishes_of(None, article=True, build=None, repository=None, models=False, task=None)
    assert wishes.pin == ARTICLE
    text = "\n".join(commands(FRESH, wishes))
    assert "torch==2.7.0 torchvision==0.22.0 xformers==0.0.30" in text
    assert "protobuf six" in text
    assert ARTICLE.revision in text


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("train: {attention: flash}", "--no-build-isolation flash-attn"),
        ("train: {attention: xformers}", "torchvision==0.22.1 xformers==0.0.31.post1"),
        ("train: {optimizer: lion_pytorch.Lion}", "lion-pytorch"),
        ("train: {optimizer: torch.optim.Adagrad}", f"-e {MUSUBI} torch==2.7.1 torchvision==0.22.1"),
        ("musubi: {train: {logging_dir: logs}}", "tensorboard"),
        ("musubi: {train: {log_with: wandb}}", "wandb"),
    ],
)
def test_a_run_names_the_packages_that_it_needs(tmp_path: Path, settings: str, expected: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"name: a\npreset: style\nimages: .\nhardware: 24gb\n{settings}\n", encoding="utf-8")
    spec = load_spec(file)
    assert any(command.endswith(expected) for command in commands(FRESH, Wishes(spec=spec)))


def test_a_package_is_never_guessed_from_a_modules_name(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("name: a\npreset: style\nimages: .\ntrain: {optimizer: mine.Optimizer}\n", encoding="utf-8")
    made = plan(FRESH, Wishes(spec=load_spec(file)))
    assert any("does not know which package holds mine" in str(note) for note in made.notes)
    assert not any("mine" in command for command in commands(FRESH, Wishes(spec=load_spec(file))))


def test_the_plan_can_be_read_in_short_and_in_full() -> None:
    assert "1. musubi-tuner v0.3.4 (30c658c)" in plan_in_short(plan(FRESH))
    assert f"mv -T /data/.musubi-tuner.wan22lora-partial {MUSUBI}" in plan_as_text(plan(FRESH))


def test_room_for_a_run_is_what_doctor_counts_for_it(tmp_path: Path) -> None:
    """Five files of rank 16 for each expert, and the two states that the trainer keeps to go on from."""
    file = tmp_path / "run.yaml"
    file.write_text(
        "name: a\npreset: style\nimages: pictures\ntrain: {epochs: 10, save_every_epochs: 2, keep_last_epochs: null}\n"
    )
    made = plan(FRESH, Wishes(spec=load_spec(file)))
    numbers = 4_792_320 * 16
    gigabytes = 2 * (5 * numbers * 2 + 2 * numbers * 3 * 4) / 1e9
    (need,) = (each for each in room.needs_of(made.steps, FRESH, MACHINE, load_spec(file)) if each.what == "the run a")
    assert need.gigabytes == pytest.approx(gigabytes)
