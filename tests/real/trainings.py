"""Small trainings by the extension, one after the other, and what they leave behind."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .asking import INSIDE
from .environment import SmallModels
from .test_environment import read_safetensors

OPTIONS = shlex.split("""
--task t2v-A14B --dataset_config dataset.toml --sdpa --mixed_precision no --seed 5
--network_module networks.lora_wan --network_dim 4 --network_alpha 4
--optimizer_type AdamW --learning_rate 2e-3 --lr_scheduler cosine
--timestep_sampling shift --discrete_flow_shift 1.0 --preserve_distribution_shape
--min_timestep 875 --max_timestep 1000 --save_every_n_epochs 1 --max_data_loader_n_workers 0
--output_name lora
""")
BATCHES = 7
"""Batches in an epoch: seven items of two shapes in twos are four, three items one by one are three."""


@dataclass(frozen=True)
class Moment:
    """A line of the program at which a signal comes: the so-manieth that runs in places of these beginnings."""

    line: int
    places: tuple[str, ...]
    signal: signal.Signals = signal.SIGKILL
    group: bool = False
    """To the whole process group, as a terminal sends it."""


@dataclass(frozen=True)
class SmallDisk:
    """A disk of its own for the folder `disk` of a training; what is on it in the end is copied to `left`.

    Sizes in bytes. `filler` is taken by a file, which goes away when the trainer pauses if `makes_room`.
    """

    size: int
    filler: int = 0
    makes_room: bool = True
    unseen: int = 0
    """So many times the trainer looks and seems to find room, as if the disk filled right afterwards."""


@dataclass(frozen=True)
class Trained:
    """One process, ended."""

    folder: Path
    exit_code: int | None
    lines: Mapping[str, int] = field(default_factory=dict)
    """How often lines ran, by module and function; only of a training that was to count them."""

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        ledger = (self.folder / "events.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in ledger.splitlines()]

    def told(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.events if each["event"] == event]

    @property
    def losses(self) -> dict[int, float]:
        return {event["step"]: event["loss"] for event in self.told("train-step")}

    @property
    def loras(self) -> dict[str, Any]:
        """The tensors of each LoRA file by the file's name."""
        return {path.name: read_safetensors(path)[1] for path in sorted(self.folder.glob("*.safetensors"))}


class Trainings:
    """Trains with the extension in forks of one process that has imported torch and musubi."""

    def __init__(self, python: Path, environment: dict[str, str], models: SmallModels, place: Path) -> None:
        self.place, self.models = place, models
        self.job, self.image_to_video_job = place / "job", place / "image-to-video"
        for job in (self.job, self.image_to_video_job):
            job.mkdir()
        self._number = 0
        with (place / "log").open("w") as log:
            self._process = subprocess.Popen(
                [python, INSIDE / "fork_trainings.py", self.job],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._answer()

    def close(self) -> None:
        self._stdin.close()
        self._process.wait()

    def new(self) -> Path:
        """A folder for a training."""
        self._number += 1
        folder = self.place / str(self._number)
        folder.mkdir()
        return folder

    def options(self, folder: Path, options: str = "") -> list[str]:
        """What the extension is started with; three epochs, unless `options` say how long."""
        own = ["--ledger", folder / "events.jsonl", "--states", folder / "states", "--step_id", "train-high"]
        return [*map(str, own), *self.plain_options(folder, options)]

    def plain_options(self, folder: Path, options: str = "") -> list[str]:
        length = [] if "--max_train_" in options else ["--max_train_epochs", "3"]
        own = ["--dit", str(self.models.t2v_high), "--output_dir", str(folder)]
        return [*OPTIONS, *own, *length, *shlex.split(options)]

    def train(
        self,
        options: str = "",
        folder: Path | None = None,
        moments: Sequence[Moment] = (),
        job: Path | None = None,
        count: bool = False,
        disk: SmallDisk | None = None,
        spoilt_gradients: Sequence[int] = (),
    ) -> Trained:
        """Trains, or continues in `folder`. After backward passes of `spoilt_gradients` a gradient is no number."""
        folder = folder or self.new()
        (folder / "disk").mkdir(exist_ok=True)
        places = {"at": str(folder / "disk"), "left": str(folder / "left"), "ledger": str(folder / "events.jsonl")}
        lines = folder / "lines.json"
        exit_code = self._ask(
            program="extension",
            argv=self.options(folder, options),
            place=str(job or self.job),
            log=str(folder / "log"),
            moments=[vars(moment) for moment in moments],
            lines=str(lines) if count else None,
            spoilt_gradients=list(spoilt_gradients),
            disk=None if disk is None else vars(disk) | places,
        )
        return Trained(folder, exit_code, json.loads(lines.read_text(encoding="utf-8")) if count else {})

    def train_plain(self, options: str = "") -> Trained:
        """musubi's own program, finding the caches in the order of their names as the extension does."""
        folder = self.new()
        argv = self.plain_options(folder, options)
        return Trained(folder, self._ask(program="plain", argv=argv, place=str(self.job), log=str(folder / "log")))

    def _ask(self, **request: object) -> int | None:
        self._stdin.write(json.dumps(request) + "\n")
        self._stdin.flush()
        answer: int | None = json.loads(self._answer())
        return answer

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, (self.place / "log").read_text(encoding="utf-8")
        return answer

    @property
    def _stdin(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin
