"""What a person asks of a setup."""

from __future__ import annotations

from dataclasses import dataclass

from wan22lora.errors import SpecError
from wan22lora.machine.torch_build import BuildName
from wan22lora.musubi.pins import ARTICLE, DEFAULT, Pin
from wan22lora.setup.checkout import REPOSITORY
from wan22lora.spec.resolved import Spec
from wan22lora.spec.tasks import TaskName


@dataclass(frozen=True)
class Wishes:
    """The command line and, where one is given, the run."""

    spec: Spec | None = None
    pin: Pin = DEFAULT
    article: bool = False
    """The article's environment to the digit, not only its revision of musubi."""
    build: BuildName | None = None
    """None: as the driver wants it."""
    repository: str = REPOSITORY
    models: bool = True
    task: TaskName = "t2v-A14B"


def wishes_of(
    spec: Spec | None,
    *,
    article: bool,
    build: BuildName | None,
    repository: str | None,
    models: bool,
    task: TaskName | None,
) -> Wishes:
    """Raises SpecError where they contradict each other."""
    if spec is not None and article and spec.pin != ARTICLE:
        text = f"{spec.file.name} runs with musubi-tuner {spec.pin.name}, and --article installs {ARTICLE.name}"
        raise SpecError(text, fix=f"`pin: {ARTICLE.name}` in {spec.file.name}, or leave --article out")
    if spec is not None and task is not None and spec.task.name != task:
        raise SpecError(f"{spec.file.name} is for {spec.task.name}, not {task}", fix="leave --task out")
    if article and build not in (None, "cu128"):
        raise SpecError("the article's environment is built for cu128", fix="leave --torch or --article out")
    return Wishes(
        spec=spec,
        pin=spec.pin if spec else ARTICLE if article else DEFAULT,
        article=article,
        build="cu128" if article and build else build,
        repository=repository or REPOSITORY,
        models=models,
        task=spec.task.name if spec else task or "t2v-A14B",
    )
