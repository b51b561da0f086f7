"""The checkout, its environment and torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wan22lora.doctor import musubi, packages, torch_build
from wan22lora.doctor.check import Check
from wan22lora.doctor.checkout import Checkout
from wan22lora.doctor.environment import Compiling, Environment, understood
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.needs import modules_for
from wan22lora.machine.nvidia import Nvidia
from wan22lora.musubi.pins import ARTICLE, V0_3_4
from wan22lora.run.ask import Answer

from .conftest import H100

Question = Callable[[Facts], Iterator[Check]]


def told(question: Question, facts: Facts, **changes: Any) -> Check:
    (check,) = question(replace(facts, **changes))
    return check


def test_a_missing_checkout_comes_by_setup(healthy: Facts) -> None:
    check = told(musubi.checkout, healthy, checkout=Checkout())
    assert (check.status, check.fix) == ("failure", "wan22lora setup")


def test_who_named_a_wrong_folder_is_told(healthy: Facts) -> None:
    named = replace(healthy.machine, musubi_from="WAN22LORA_MUSUBI")
    check = told(musubi.checkout, healthy, checkout=Checkout("something else"), machine=named)
    assert "(named by WAN22LORA_MUSUBI) is no checkout" in check.text
    typed = replace(healthy.machine, musubi_from="--musubi")
    check = told(musubi.checkout, healthy, checkout=Checkout(), machine=typed)
    assert check.fix == f"wan22lora setup --musubi {healthy.machine.musubi}"


def test_another_revision_is_a_failure_with_the_command_that_changes_it(healthy: Facts) -> None:
    check = told(musubi.checkout, healthy, checkout=replace(healthy.checkout, commit=ARTICLE.revision))
    assert check.status == "failure"
    assert "is at the pin `article`, and runs are planned for v0.3.4" in check.text
    folder = healthy.machine.musubi
    assert check.fix == (
        f"git -C {folder} fetch origin {V0_3_4.revision} && git -C {folder} checkout {V0_3_4.revision}"
    )


def test_the_runs_own_pin_is_what_counts(with_run: Callable[..., Facts]) -> None:
    facts = with_run("pin: article")
    assert told(musubi.checkout, facts).status == "failure"
    at_article = replace(facts.checkout, commit=ARTICLE.revision)
    assert told(musubi.checkout, facts, checkout=at_article).status == "ok"


def test_a_checkout_without_git_is_a_warning(healthy: Facts) -> None:
    unknown = Checkout("there", None, None, "it is no git repository")
    assert told(musubi.checkout, healthy, checkout=unknown).status == "warning"


def test_changed_files_are_listed(healthy: Facts) -> None:
    changed = tuple(f"src/{name}.py" for name in "abcdef")
    _, check = musubi.checkout(replace(healthy, checkout=replace(healthy.checkout, modified=changed)))
    assert check.status == "warning"
    assert "6 files of the checkout differ" in check.text
    assert "src/e.py and 1 more" in check.text
    assert check.fix.endswith("stash -u")


def test_a_repository_of_somebody_else_has_its_own_remedy(healthy: Facts) -> None:
    trouble = "fatal: detected dubious ownership in repository at '/x'"
    _, check = musubi.checkout(replace(healthy, checkout=replace(healthy.checkout, modified=None, trouble=trouble)))
    assert check.fix == f"git config --global --add safe.directory {healthy.machine.musubi}"


@pytest.mark.parametrize(("version", "status"), [((3, 10, 0), "ok"), ((3, 12, 9), "ok"), ((3, 13, 0), "failure")])
def test_musubis_python_must_be_one_that_it_takes(healthy: Facts, version: tuple[int, int, int], status: str) -> None:
    check = told(packages.python, healthy, environment=replace(healthy.environment, version=version))
    assert check.status == status


def test_a_python_that_a_variable_names_is_changed_by_unsetting_it(healthy: Facts, tmp_path: Any) -> None:
    elsewhere = replace(healthy.machine, python=tmp_path / "env" / "bin" / "python")
    variables = {"WAN22LORA_MUSUBI_PYTHON": str(elsewhere.python)}
    check = told(packages.python, healthy, machine=elsewhere, environment=Environment(), variables=variables)
    assert (check.status, check.fix) == ("failure", "unset WAN22LORA_MUSUBI_PYTHON")
    check = told(packages.python, healthy, machine=elsewhere, environment=Environment())
    assert check.fix == f"edit {healthy.settings}: musubi_python"


def test_the_python_of_a_checkout_that_is_not_there_is_not_told_on_top(healthy: Facts) -> None:
    assert told(packages.python, healthy, environment=Environment()).fix == "wan22lora setup"
    assert list(packages.python(replace(healthy, environment=Environment(), checkout=Checkout()))) == []


def test_packages_that_cannot_be_imported_are_named_with_the_reason(healthy: Facts) -> None:
    errors = {
        "diffusers": "ModuleNotFoundError: No module named 'diffusers'",
        "cv2": "ImportError: libGL.so.1: cannot open shared object file",
    }
    check = told(packages.packages, healthy, environment=replace(healthy.environment, errors=errors))
    assert check.status == "failure"
    assert "diffusers and cv2 (ImportError: libGL.so.1" in check.text
    assert check.fix == "wan22lora setup"


def test_an_environment_of_ones_own_is_repaired_with_its_own_tools(healthy: Facts) -> None:
    errors = {"diffusers": "ModuleNotFoundError: No module named 'diffusers'"}
    facts = replace(healthy, made_by_setup=False, environment=replace(healthy.environment, errors=errors))
    python, folder = healthy.machine.python, healthy.machine.musubi
    assert told(packages.packages, facts).fix == f"{python} -m pip install -e {folder}"
    without_pip = replace(facts.environment, distributions={})
    check = told(packages.packages, facts, environment=without_pip)
    assert check.fix == f"uv pip install --python {python} -e {folder}"


def test_other_versions_than_demanded_are_a_warning(healthy: Facts) -> None:
    newer = replace(healthy.environment, distributions={"accelerate": "1.10.0", "pip": "25.0"})
    _, check = packages.packages(replace(healthy, environment=newer))
    assert check.status == "warning"
    assert "accelerate 1.10.0 (it demands 1.6.0)" in check.text


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("", {}),
        ("train: {attention: xformers}", {"xformers.ops": "attention: xformers"}),
        ("train: {attention: flash}", {"flash_attn": "attention: flash"}),
        ("train: {optimizer: adamw8bit}", {"bitsandbytes": "optimizer: adamw8bit"}),
        ("train: {optimizer: prodigyopt.Prodigy}", {"prodigyopt": "optimizer: prodigyopt.Prodigy"}),
        ("train: {optimizer: adafactor}", {}),
        ("musubi: {train: {logging_dir: logs}}", {"tensorboard": "logging_dir"}),
        ("musubi: {train: {log_with: all, logging_dir: logs}}", {"tensorboard": "log_with", "wandb": "log_with"}),
        ("experts: {high: {attention: flash3}}", {"flash_attn_interface": "attention: flash3"}),
    ],
)
def test_a_run_asks_for_the_modules_that_its_settings_need(
    with_run: Callable[..., Facts], text: str, modules: dict[str, str]
) -> None:
    assert with_run(text).wanted == modules


def test_a_module_that_only_the_run_needs_is_told_with_its_setting(with_run: Callable[..., Facts]) -> None:
    facts = with_run("train: {optimizer: prodigyopt.Prodigy, attention: xformers}")
    assert facts.run is not None
    assert facts.run.spec is not None
    assert set(modules_for(facts.run.spec)) == {"prodigyopt", "xformers.ops"}
    environment = replace(
        facts.environment,
        modules={**facts.environment.modules, "xformers.ops": "0.0.31"},
        errors={"prodigyopt": "ModuleNotFoundError: No module named 'prodigyopt'"},
    )
    checks = {check.name: check for check in packages.packages(replace(facts, environment=environment))}
    assert checks["packages"].status == "ok"
    assert checks["package-xformers.ops"].status == "ok"
    assert checks["package-prodigyopt"].status == "failure"
    assert checks["package-prodigyopt"].fix == f"wan22lora setup {facts.run.file}"
    own = replace(facts, environment=environment, made_by_setup=False)
    checks = {check.name: check for check in packages.packages(own)}
    assert checks["package-prodigyopt"].fix == f"{facts.machine.python} -m pip install prodigyopt"


def test_a_package_whose_name_is_not_known_is_not_guessed(with_run: Callable[..., Facts]) -> None:
    facts = with_run("train: {optimizer: some_module.Thing}")
    environment = replace(facts.environment, errors={"some_module": "ModuleNotFoundError: No module named 'x'"})
    checks = [check for check in packages.packages(replace(facts, environment=environment)) if "some" in check.name]
    assert all("pip" not in check.fix for check in checks)


@pytest.mark.parametrize(
    ("torch", "driver", "status", "said"),
    [
        ({}, (12, 8), "ok", "computes on NVIDIA H100"),
        ({"cuda": None, "available": False, "version": "2.7.1+cpu"}, (12, 8), "failure", "without CUDA"),
        ({"cuda": (13, 0), "available": False}, (12, 8), "failure", "the driver serves 12.8"),
        ({"cuda": (12, 8)}, (12, 4), "ok", "computes"),  # NVIDIA's minor version compatibility
        ({"available": False, "trouble": "CUDA unknown error"}, (12, 8), "failure", "It says: CUDA unknown error"),
        ({"capability": (12, 0), "architectures": ("sm_80", "sm_90")}, (12, 8), "failure", "no kernels"),
        ({"capability": (8, 9), "architectures": ("sm_80", "sm_90")}, (12, 8), "ok", "computes"),
        ({"capability": (12, 0), "architectures": ("compute_90",)}, (12, 8), "ok", "computes"),
        ({"computes": False, "trouble": "out of memory"}, (12, 8), "failure", "cannot compute"),
    ],
)
def test_torch_is_held_against_the_driver_and_the_card(
    healthy: Facts, torch: dict[str, Any], driver: tuple[int, int], status: str, said: str
) -> None:
    assert healthy.environment.torch is not None
    environment = replace(healthy.environment, torch=replace(healthy.environment.torch, **torch))
    check = told(torch_build.torch, healthy, environment=environment, nvidia=Nvidia("1", driver, (H100,)))
    assert check.status == status
    assert said in check.text


def test_in_an_environment_of_ones_own_the_build_that_fits_is_named(healthy: Facts) -> None:
    assert healthy.environment.torch is not None
    cpu = replace(healthy.environment.torch, cuda=None, available=False)
    environment = replace(healthy.environment, torch=cpu)
    check = told(torch_build.torch, healthy, environment=environment, made_by_setup=False)
    assert check.fix.startswith(f"{healthy.machine.python} -m pip install --index-url ")
    assert "/cu128 torch==" in check.fix


def test_without_a_driver_torch_is_not_blamed(healthy: Facts) -> None:
    assert healthy.environment.torch is not None
    blind = replace(healthy.environment, torch=replace(healthy.environment.torch, available=False))
    check = told(torch_build.torch, healthy, environment=blind, nvidia=Nvidia(trouble="no driver"))
    assert check.status == "ok"


def test_answers_that_were_cut_off_name_the_module_at_which_python_died() -> None:
    lines = '{"python": [3, 10, 1]}\n{"asking": "torch"}\n{"module": "torch", "version": "2"}\n{"asking": "cv2"}\n{"mod'
    environment = understood(Answer(139, lines, "Segmentation fault"))
    assert environment.modules == {"torch": "2"}
    assert environment.errors == {"cv2": "ends Python (exit code 139)"}
    hanging = understood(Answer(137, lines, "", timed_out=True))
    assert hanging.errors == {"cv2": "takes too long"}


def test_a_python_that_says_nothing_cannot_be_used() -> None:
    environment = understood(Answer(1, "", "error while loading shared libraries: libpython3.10.so.1.0\n"))
    assert environment.state == "cannot start"
    assert "libpython" in environment.detail


def test_a_machine_that_compiles_says_where_kernels_are_kept(healthy: Facts) -> None:
    machine = replace(healthy.machine, kernels=Path("/home/ann/.cache/wan22lora/kernels"))
    environment = replace(healthy.environment, compiling=Compiling())
    check = told(torch_build.compiling, healthy, machine=machine, environment=environment, kernels=120_000_000)
    assert (check.status, check.text) == (
        "ok",
        "torch compiles for this GPU; kernels are kept in /home/ann/.cache/wan22lora/kernels (0.1 GB)",
    )
    assert list(torch_build.compiling(healthy)) == []  # without a GPU it is not tried


@pytest.mark.parametrize(("lines", "status"), [("", "warning"), ("speed: fast", "failure"), ("speed: reference", None)])
def test_a_machine_that_cannot_compile_is_told_what_to_type(
    with_run: Callable[..., Facts], lines: str, status: str | None
) -> None:
    facts = with_run(lines)
    lack = Compiling("the trainer compiles its kernels, and there is no C compiler", "sudo apt-get install -y gcc")
    facts = replace(facts, environment=replace(facts.environment, compiling=lack))
    checks = list(torch_build.compiling(facts))
    assert [check.status for check in checks] == ([] if status is None else [status])
    assert all(check.fix == "sudo apt-get install -y gcc" for check in checks)


def test_a_crash_while_compiling_is_no_error_of_the_environment() -> None:
    lines = '{"python": [3, 10, 1]}\n{"asking": "torch.compile"}\n'
    environment = understood(Answer(139, lines, "", False))
    assert environment.errors == {}
    assert environment.compiling == Compiling("torch.compile ends Python (exit code 139)")
