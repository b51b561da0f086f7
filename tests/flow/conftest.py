"""The command line in real subprocesses, in a folder with eighteen pictures."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # In the background of a shell without job control; no child could be interrupted, as exec keeps what is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)


SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str
    cpu_seconds: float
    """Of it and of what it waited for: the time by the clock is that of the other tests, too."""

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass
class Place:
    """A person's folder, and the commands typed in it."""

    path: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def write(self, text: str, name: str = "run.yaml") -> Path:
        file = self.path / name
        file.write_text(text, encoding="utf-8")
        return file

    def start(self, *argv: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "wan22lora", *argv],
            cwd=self.path,
            env={**self.environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.started.append(process)
        return process

    def wan22lora(self, *argv: str, env: Mapping[str, str] | None = None) -> Finished:
        begun = cpu_seconds_of_children()
        process = self.start(*argv, env=env)
        stdout, stderr = process.communicate(timeout=60)
        return Finished(process.returncode, stdout, stderr, cpu_seconds_of_children() - begun)

    @property
    def run(self) -> Path:
        return self.path / "runs" / "paper-rehearsal"

    def caches(self) -> dict[str, tuple[int, int]]:
        """Cache files by name, each with what changes when it is written again."""
        files = (self.run / "cache").rglob("*.safetensors")
        return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


def place_in(folder: Path) -> Place:
    """Pictures, captions and a run.yaml; home and configuration are inside the folder too."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for index, size in enumerate([(96, 96)] * 8 + [(80, 112)] * 5 + [(112, 80)] * 5):
        Image.new("RGB", size, (index * 10, 90, 40)).save(pictures / f"{index:02d}.png")
        (pictures / f"{index:02d}.txt").write_text(f"paperworld, picture {index}\n", encoding="utf-8")
    home = folder / "home"
    home.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    environment = {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": str(SOURCE),
        "PYTHONUTF8": "1",
        "WAN22LORA_REHEARSAL_STEP_SECONDS": "0",
    }
    place = Place(folder, environment)
    place.write("name: paper\npreset: article-wan22\nimages: pictures\ntrain: {epochs: 3}\n")
    return place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = place_in(tmp_path)
    yield place
    for process in place.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


class Played:
    """What commands left of a place, each played once for all tests of this process that only begin with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[tuple[str, ...], Path] = {}

    def runs_after(self, *argv: str, run_yaml: str) -> Path:
        """The folder `runs` of a place with that run.yaml."""
        key = (run_yaml, *argv)
        if key not in self._runs:
            folder = self._folder / str(len(self._runs))
            folder.mkdir()
            place = place_in(folder)
            place.write(run_yaml)
            done = place.wan22lora(*argv)
            assert done.exit_code == 0, done.output
            self._runs[key] = folder / "runs"
        return self._runs[key]


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return Played(tmp_path_factory.mktemp("played"))


@pytest.fixture
def after_command(place: Place, played: Played) -> Callable[..., None]:
    """Makes the place, whose pictures are untouched, what it is after a command: with the run that this left."""

    def copy(*argv: str) -> None:
        run_yaml = (place.path / "run.yaml").read_text(encoding="utf-8")
        shutil.copytree(played.runs_after(*argv, run_yaml=run_yaml), place.path / "runs")

    return copy


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two clips of five seconds with captions."""
    import av

    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b"):
        with av.open(str(folder / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=24)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for _ in range(120):
                container.mux(stream.encode(av.VideoFrame(64, 64, "rgb24")))
            container.mux(stream.encode())
        (folder / f"{name}.txt").write_text("zxq, a thing moves", encoding="utf-8")
    return folder
