"""A folder with pictures, captions and dataset.toml, and the stand-ins as real subprocesses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

import wan22lora

SOURCES = Path(wan22lora.__file__).parents[1]
MUSUBI = "/opt/musubi-tuner"
"""Need not exist."""
SIZES = ((96, 128), (112, 128), (128, 128), (144, 128), (160, 128), (176, 128))
LAUNCH = (
    *("-m", "accelerate.commands.launch", "--num_cpu_threads_per_process", "1", "--num_processes", "1"),
    *("--num_machines", "1", "--dynamo_backend", "no", "--mixed_precision", "fp16"),
)


@dataclass
class Bench:
    """Runs the stand-ins in a folder of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def config(self) -> Path:
        return self.folder / "dataset.toml"

    def add_picture(self, stem: str, size: tuple[int, int] = (128, 128), caption: str | None = "a picture") -> None:
        self.pictures.mkdir(exist_ok=True)
        Image.new("RGB", size).save(self.pictures / f"{stem}.png")
        if caption is not None:
            (self.pictures / f"{stem}.txt").write_text(caption + "\n", encoding="utf-8")

    def write_config(self, *lines: str, kind: str = "image", **changes: str) -> None:
        values = {
            f"{kind}_directory": f'"{self.pictures.as_posix()}"',
            "cache_directory": f'"{self.cache.as_posix()}"',
            "resolution": "[96, 96]",
            "caption_extension": '".txt"',
            "enable_bucket": "true",
        } | changes
        table = [f"{key} = {value}" for key, value in values.items()]
        self.config.write_text("\n".join(["[[datasets]]", *table, *lines, ""]), encoding="utf-8")

    def argv(self, program: str, *options: str | Path, launch: bool = False) -> list[str]:
        script = f"{MUSUBI}/src/musubi_tuner/{program}.py"
        real = [f"{MUSUBI}/.venv/bin/python", *(LAUNCH if launch else ()), script, *map(str, options)]
        return [sys.executable, "-m", "wan22lora.rehearsal", *real]

    def environment(self, **env: str) -> dict[str, str]:
        outside = {key: value for key, value in os.environ.items() if not key.startswith("WAN22LORA_")}
        return outside | {"PYTHONPATH": str(SOURCES), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"} | self.env | env

    def run(self, argv: list[str], **env: str) -> subprocess.CompletedProcess[str]:
        # Decoded here: text mode would turn the carriage returns into newlines.
        done = subprocess.run(argv, cwd=self.folder, env=self.environment(**env), capture_output=True, timeout=60)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def cache_latents(self, *options: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        fixed = ("--dataset_config", self.config, "--vae", "vae.safetensors", "--skip_existing")
        return self.run(self.argv("wan_cache_latents", *fixed, *options), **env)

    def cache_text(self, *options: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        fixed = ("--dataset_config", self.config, "--t5", "t5.pth", "--skip_existing")
        return self.run(self.argv("wan_cache_text_encoder_outputs", *fixed, *options), **env)

    @property
    def ledger(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def states(self) -> Path:
        return self.folder / "states"

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What the trainer extension told, all of it or the events of one kind."""
        if not self.ledger.exists():
            return []
        told = [json.loads(line) for line in self.ledger.read_text(encoding="utf-8").splitlines()]
        return [event for event in told if kind in (None, event["event"])]

    def extension_argv(self, *options: str | Path, without: tuple[str, ...] = ()) -> list[str]:
        """The same training under the trainer extension."""
        plain = self.train_argv(*options, without=without)
        script = plain.index(f"{MUSUBI}/src/musubi_tuner/wan_train_network.py")
        own = ("--ledger", self.ledger, "--step_id", "train-high", "--states", self.states)
        return [*plain[:script], "/somewhere/wan22lora/trainer", *plain[script + 1 :], *map(str, own)]

    def extension(
        self, *options: str | Path, without: tuple[str, ...] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run(self.extension_argv(*options, without=without), **env)

    def start(self, *options: str | Path, **env: str) -> subprocess.Popen[bytes]:
        """The same in a process group of its own, which writes to a file."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                self.extension_argv(*options),
                cwd=self.folder,
                env=self.environment(**env),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_for(self, kind: str, step: int = 0) -> None:
        """Until an event of that kind is told, of that optimizer step or a later one."""
        for _ in range(1000):
            if any(event.get("step", 0) >= step for event in self.events(kind)):
                return
            time.sleep(0.01)
        raise AssertionError(f"{kind} {step} never came: {self.events()}")

    def train_argv(self, *options: str | Path, launch: bool = False, without: tuple[str, ...] = ()) -> list[str]:
        fixed: dict[str, tuple[str | Path, ...]] = {
            "--task": ("t2v-A14B",),
            "--dit": ("high_fp16.safetensors",),
            "--dataset_config": (self.config,),
            "--sdpa": (),
            "--mixed_precision": ("fp16",),
            "--optimizer_type": ("adamw",),
            "--network_module": ("networks.lora_wan",),
            "--network_dim": ("16",),
            "--network_alpha": ("16",),
            "--max_train_epochs": ("3",),
            "--max_data_loader_n_workers": ("2",),
            "--seed": ("5",),
            "--output_dir": (self.out,),
            "--output_name": ("t",),
        }
        kept = [token for name, values in fixed.items() if name not in without for token in (name, *values)]
        return self.argv("wan_train_network", *kept, *options, launch=launch)

    def train(
        self, *options: str | Path, launch: bool = False, without: tuple[str, ...] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run(self.train_argv(*options, launch=launch, without=without), **env)
