"""Stand-in for the trainer's states: the same folders and facts around a few numbers (trainer/states.py)."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from wan22lora.rehearsal.faults import Faults
from wan22lora.rehearsal.session import MARK
from wan22lora.trainer.disk import Disk, sha256_of
from wan22lora.trainer.failing import TrainingFailed
from wan22lora.trainer.finding import FORMAT, newest_state, superseded
from wan22lora.trainer.position import Position

_UNFINISHED = ".writing-"


@dataclass(frozen=True)
class State:
    """What a rehearsed training goes on from."""

    at: Position
    learned: str
    """Stands for the weights (see learned.py)."""
    seed: int
    session: Mapping[str, str]
    """Metadata that are drawn once for a training, whatever number of processes it takes."""


class States:
    """The states of one training."""

    def __init__(self, folder: Path, keep_last: int, disk: Disk, faults: Faults) -> None:
        self._folder, self._keep_last, self._disk, self._faults = folder, max(keep_last, 1), disk, faults
        self._written = 0

    def newest(self) -> Path | None:
        """The whole state of the highest step."""
        found = newest_state(self._folder)
        return None if found is None else found.path

    def load(self, path: Path) -> State:
        """Raises TrainingFailed where the contents are not what was written."""
        file = path / "state.pt"
        if sha256_of(file) != json.loads((path / "state.json").read_text(encoding="utf-8"))["sha256"]:
            raise TrainingFailed(
                "error",
                f"the state {path} is damaged: its contents are not what was written",
                f"move {path} away; the training then continues from the state before it, if there is one",
            )
        content = json.loads(file.read_text(encoding="utf-8"))
        return State(Position(**content["position"]), content["learned"], content["seed"], content["session"])

    def save(self, state: State, total: int) -> tuple[Path, int]:
        """Write a state and remove the oldest ones; its folder and bytes. Raises TrainingFailed on a full disk."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._written += 1
        content = {"position": asdict(state.at), "learned": state.learned, "seed": state.seed}
        data = json.dumps({**content, "session": state.session, **MARK}, indent=1).encode()
        aside = self._folder / f"{_UNFINISHED}step-{state.at.step:08d}"

        def write() -> Path:
            try:
                return self._write(aside, state, data, total)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise

        path = self._disk.write("a state", len(data), self._folder, write)
        for old in superseded(self._folder, self._keep_last):
            shutil.rmtree(old, ignore_errors=True)
        return path, len(data)

    def clear_unfinished(self) -> None:
        """Remove what a killed process was writing."""
        for path in self._folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _write(self, aside: Path, state: State, data: bytes, total: int) -> Path:
        at = state.at
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        file = aside / "state.pt"
        self._faults.before_state(file, data, self._written)
        file.write_bytes(data)
        told = {
            "step": at.step,
            "total": total,
            "epoch": at.epoch + 1,
            "batch": at.batch,
            "seed": state.seed,
            "format": FORMAT,
            "bytes": len(data),
            "sha256": sha256_of(file),
            "saved": time.time(),
        }
        (aside / "state.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        whole = aside.with_name(aside.name.removeprefix(_UNFINISHED))
        if whole.exists():
            shutil.rmtree(whole)
        return aside.rename(whole)


def step_of(state: Path) -> int:
    """The optimizer steps that were done when the state was taken."""
    return int(state.name.removeprefix("step-"))
