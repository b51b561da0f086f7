"""One `wan22lora setup`, from the command line's words to the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from wan22lora.errors import Interrupted, SpecError
from wan22lora.machine.nvidia import gpu_free_gib, read_nvidia
from wan22lora.machine.settings import data_folder, read_machine
from wan22lora.machine.torch_build import BuildName, card_of
from wan22lora.musubi.pins import Pin
from wan22lora.setup.build import plan_setup
from wan22lora.setup.carry_out import carry_out
from wan22lora.setup.model import Plan
from wan22lora.setup.recorded import recorded
from wan22lora.setup.show import plan_in_short
from wan22lora.setup.survey import survey
from wan22lora.setup.weights import weights_step
from wan22lora.setup.wishes import Wishes, wishes_of
from wan22lora.setup.workshop import Workshop
from wan22lora.spec.load import load_spec
from wan22lora.spec.tasks import TaskName


@dataclass(frozen=True)
class Job:
    """What was typed."""

    run_file: Path | None
    musubi: Path | None
    article: bool
    build: BuildName | None
    repository: str | None
    models: bool
    task: TaskName | None
    pin: Pin | None = None
    """Another revision than run.yaml's or the default."""

    @property
    def wishes(self) -> Wishes:
        """Raises SpecError for a run.yaml that cannot be used, and for words that contradict each other."""
        spec = load_spec(self.run_file, gpu_free_gib=lambda: gpu_free_gib()) if self.run_file else None
        wishes = wishes_of(
            spec,
            article=self.article,
            build=self.build,
            repository=self.repository,
            models=self.models,
            task=self.task,
        )
        return replace(wishes, pin=self.pin) if self.pin else wishes

    @property
    def again(self) -> str:
        """The command that does the same."""
        words = ["wan22lora", "setup", *([str(self.run_file)] if self.run_file else [])]
        words += [flag for flag, given in (("--article", self.article), ("--no-models", not self.models)) if given]
        options = (("--task", self.task), ("--musubi", self.musubi), ("--torch", self.build))
        for flag, value in (*options, ("--musubi-repo", self.repository)):
            words += [flag, str(value)] if value else []
        return shlex.join(words)


def look(job: Job) -> Plan:
    """The plan for the machine as it is. Touches nothing."""
    wishes = job.wishes
    machine = read_machine(job.musubi)
    found = survey(machine.musubi, machine.python, card_of(read_nvidia(), machine.gpu))
    weights = weights_step(wishes, machine.models) if wishes.models else None
    return plan_setup(wishes, found, machine, recorded(), weights)


def ask_first() -> None:
    """Raises SpecError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise SpecError("setup asks before it starts, and nobody can answer here", fix="wan22lora setup --yes")


def work(job: Job, say: Callable[[str], None], agreed: Callable[[], bool] | None) -> None:
    """Look, ask by `agreed` (None: do not), and put right what is not; a second setup is kept out meanwhile."""
    workshop = Workshop(data_folder())
    with workshop.lock():
        plan = look(job)
        if agreed is not None and not plan.refusals and not plan.settled:
            say(plan_in_short(plan))
            if not agreed():
                raise Interrupted("Nothing was done.")
        for note in plan.notes:
            say(f"warning: {note}")
        log = carry_out(plan, workshop, say, job.again)
    say(f"Ready. Log: {log}")
    if job.run_file:
        say(f"Next: wan22lora doctor {shlex.quote(str(job.run_file))}")
    else:
        say("Next: wan22lora doctor, and wan22lora init for a first run")
