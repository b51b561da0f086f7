"""The real musubi-tuner, made to run on a CPU with small models; see environment/."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from .command_line import CommandLine
from .environment import SmallModels, find_python, make_environment, make_python, make_small_models
from .trainings import Trainings

ARTICLE = "d0a193061a23a51c90664282205d753605a641c1"
HOW = (
    "tests/real needs musubi-tuner: set WAN22LORA_MUSUBI to a checkout at 30c658c "
    "and WAN22LORA_MUSUBI_PYTHON to its environment's python"
)


@pytest.fixture(scope="session", autouse=True)
def musubi_checkout() -> Path:
    """The checkout at the default pin; every test here is skipped where there is none."""
    if not (named := os.environ.get("WAN22LORA_MUSUBI")):
        pytest.skip(HOW)
    checkout = Path(named).resolve()
    if not (checkout / "src" / "musubi_tuner").is_dir():
        pytest.fail(f"WAN22LORA_MUSUBI={named} is not a musubi-tuner checkout: it has no src/musubi_tuner")
    return checkout


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Gives all these skips one place, so that the summary folds them into one line."""
    report = yield
    if report.skipped and HOW in str(report.longrepr):
        report.longrepr = (__file__, 1, f"Skipped: {HOW}")
    return report


@pytest.fixture(scope="session")
def article_checkout(musubi_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The article's revision, from the same repository; the given checkout is only read."""
    known = ["git", "-C", str(musubi_checkout), "cat-file", "-e", f"{ARTICLE}^{{commit}}"]
    if subprocess.run(known, capture_output=True).returncode != 0:
        pytest.skip(f"the article's musubi-tuner is not in {musubi_checkout}: git fetch origin {ARTICLE}")
    checkout = tmp_path_factory.mktemp("musubi-article") / "musubi-tuner"
    clone = ["git", "clone", "--quiet", "--shared", "--no-checkout", str(musubi_checkout), str(checkout)]
    subprocess.run(clone, check=True)
    subprocess.run(["git", "-C", str(checkout), "checkout", "--quiet", "--detach", ARTICLE], check=True)
    return checkout


@pytest.fixture(scope="session")
def musubi_python(musubi_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with musubi's packages that makes musubi run on a CPU with the small models."""
    real = find_python(musubi_checkout)
    if real is None:
        pytest.fail(f"no python of musubi's environment. {HOW}")
    return make_python(real, tmp_path_factory.mktemp("musubi-python") / "env")


@pytest.fixture(scope="session")
def small_models(musubi_checkout: Path, musubi_python: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallModels:
    return make_small_models(musubi_python, musubi_checkout, tmp_path_factory.mktemp("small-models"))


@pytest.fixture(scope="session")
def environment(musubi_checkout: Path, small_models: SmallModels) -> dict[str, str]:
    """The variables to give to musubi's programs."""
    return make_environment(musubi_checkout, small_models.hf_home)


@pytest.fixture(scope="session")
def command_line(
    musubi_checkout: Path, musubi_python: Path, environment: dict[str, str], small_models: SmallModels
) -> Callable[..., CommandLine]:
    """Given a folder: the command line in it, at the default pin unless another checkout is given."""

    def command_line(place: Path, checkout: Path = musubi_checkout) -> CommandLine:
        own = environment | {"PYTHONPATH": ""}
        return CommandLine(place, checkout, musubi_python, own, small_models.hf_home / "hub")

    return command_line


@pytest.fixture(scope="session")
def trainings(
    musubi_python: Path,
    environment: dict[str, str],
    small_models: SmallModels,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Trainings]:
    """Starts small trainings by the extension, each in well under a second once the first has begun."""
    trainings = Trainings(musubi_python, environment, small_models, tmp_path_factory.mktemp("trainings"))
    yield trainings
    trainings.close()
