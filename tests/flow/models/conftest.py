"""A hub on loopback, a folder of models, and the certainty that nothing else is reached."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from wan22lora.models.catalogue import ModelFile
from wan22lora.models.fetch import fetch

from .hub_server import HubServer, only_loopback


@dataclass
class Heard:
    """A reporter that keeps what it hears."""

    lines: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    bytes: int = 0

    def say(self, text: str) -> None:
        self.lines.append(text)

    def begin(self, title: str, total: int, done: int) -> None:
        self.titles.append(title)
        self.bytes = done

    def advance(self, count: int) -> None:
        self.bytes += count

    def end(self) -> None:
        pass

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class Machine:
    """A machine with a folder of models and a hub in reach."""

    hub: HubServer
    models: Path
    heard: Heard = field(default_factory=Heard)
    slept: list[float] = field(default_factory=list)

    def fetch(self, *files: ModelFile) -> tuple[Path, ...]:
        return fetch(self.models, files, reporter=self.heard, sleep=self.slept.append)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().running() as server:
        yield server


@pytest.fixture
def machine(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("WAN22LORA_MACHINE", str(tmp_path / "machine.yaml"))
    only_loopback(monkeypatch)

    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    without_pauses = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr(file_download, "time", without_pauses)
    return Machine(hub, tmp_path / "models")
