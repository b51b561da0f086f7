"""A fetch whose process is killed outright, as a rented machine or an impatient person does it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from wan22lora.models.arriving import is_arriving
from wan22lora.models.catalogue import CATALOGUE, ModelFile
from wan22lora.models.part import part_size

from .conftest import Machine
from .hub_server import COMMIT, Content, Fault, Hosted

HERE = Path(__file__).parent


def start(machine: Machine, file: ModelFile) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parents[2] / 'src'}{os.pathsep}{HERE.parent}"}
    argv = [sys.executable, "-m", "models.fetching", str(machine.models), json.dumps(asdict(file))]
    return subprocess.Popen(argv, env=environment)


def test_a_killed_fetch_goes_on_where_it_was_and_no_longer_counts_as_arriving(machine: Machine) -> None:
    content = Content(random.Random(1).randbytes(1 << 20), random.Random(2).randbytes(4099), size=24 << 20)
    entry = next(file for file in CATALOGUE if file.name == "t2v-high")
    entry = replace(entry, repository="a/b", revision=COMMIT, size=content.size, sha256=content.sha256)
    machine.hub.add("a/b", entry.path, Hosted(content))
    machine.hub.cdn_faults.append(Fault(pause=0.05))
    place = machine.models / entry.relative
    process = start(machine, entry)
    try:
        while part_size(place) < 5 << 20:
            assert process.poll() is None
        assert is_arriving(place)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = part_size(place)
    assert kept >= 5 << 20
    assert not is_arriving(place)
    assert start(machine, entry).wait(60) == 0
    assert machine.hub.sent_to("cdn")[-1].headers["Range"] == f"bytes={kept}-"
    assert place.stat().st_size == content.size
    assert sorted(path.name for path in place.parent.iterdir()) == [place.name]


def test_two_processes_that_want_the_same_file_fetch_it_once(machine: Machine) -> None:
    content = Content(b"x" * 1000, b"\1", size=8 << 20)
    entry = replace(CATALOGUE[0], repository="a/b", revision=COMMIT, size=content.size, sha256=content.sha256)
    machine.hub.add("a/b", entry.path, Hosted(content))
    machine.hub.cdn_faults.append(Fault(pause=0.2))
    both = [start(machine, entry) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(machine.hub.sent_to("cdn")) == 1
