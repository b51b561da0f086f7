"""The proof: musubi's Python is asked what it can import, and torch whether it computes on the GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator

from wan22lora.doctor.environment import Environment, ask_environment
from wan22lora.errors import Finding, MachineError, command
from wan22lora.machine.settings import Machine
from wan22lora.setup.model import Prove

_LIBRARIES = {
    "libGL.so.1": "apt-get install libgl1",
    "libgthread-2.0.so.0": "apt-get install libglib2.0-0",
    "libglib-2.0.so.0": "apt-get install libglib2.0-0",
    "libgomp.so.1": "apt-get install libgomp1",
}
"""Of the system, which opencv and torch expect and slim images leave out."""


def prove(asked: Prove) -> str:
    """What was found, in a sentence. Raises MachineError if a run could not start like this."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    machine = Machine(asked.musubi, "setup", asked.python, asked.musubi, gpu=gpu)
    found = ask_environment(machine, asked.modules)
    problems = tuple(_problems(asked, found))
    if problems:
        text = f"The environment of {asked.python} is not what a run needs."
        raise MachineError(text, findings=problems, fix="wan22lora setup, when that is put right")
    assert found.torch is not None
    torch = f"torch {found.torch.version}"
    if found.torch.available:
        return f"{torch} computes on {found.torch.name}; musubi-tuner's programs can be imported"
    return f"{torch} sees no GPU here, so musubi-tuner's programs, which need one, were not tried; all else is there"


def _problems(asked: Prove, found: Environment) -> Iterator[Finding]:
    if found.state != "asked":
        yield Finding(str(asked.python), f"does not start: {found.detail or 'it is not there'}")
        return
    for module, error in found.errors.items():
        library = next((fix for name, fix in _LIBRARIES.items() if name in error), "")
        yield Finding(module, error, library or _reinstalling(asked, module))
    torch = found.torch
    if torch is None:
        if "torch" not in found.errors:
            yield Finding("torch", "did not answer", _reinstalling(asked, "torch"))
        return
    if asked.gpu_expected and not torch.available:
        text = (
            f"torch {torch.version} does not see the GPU that the driver has: {torch.trouble or 'it does not say why'}"
        )
        yield Finding("GPU", text, "wan22lora doctor tells more; another build of torch: wan22lora setup --torch cu128")
    elif torch.available and not torch.computes:
        text = f"torch {torch.version} does not compute on {torch.name}: {torch.trouble or 'a wrong result'}"
        yield Finding("GPU", text, "another build of torch: wan22lora setup --torch cu128")


def _reinstalling(asked: Prove, module: str) -> str:
    environment = asked.python.parent.parent
    if environment == asked.musubi / ".venv":
        return f"{command('rm', '-r', environment)}, and wan22lora setup makes it anew"
    return f"install what holds {module} there: {command(asked.python, '-m', 'pip', 'install')} …"
