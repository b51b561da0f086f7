"""Which weight files a run uses, and what their headers (or, before they are here, their names) say against it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wan22lora.errors import Finding
from wan22lora.machine.settings import Machine
from wan22lora.models.catalogue import files_of
from wan22lora.models.places import place
from wan22lora.models.recognise import what_it_is
from wan22lora.musubi.weights import WeightsFacts, guess_from_name, inspect_weights
from wan22lora.plan.contents import fingerprint
from wan22lora.spec.resolved import Expert, Spec
from wan22lora.spec.tasks import ExpertName, Task


@dataclass(frozen=True)
class Weights:
    """One weight file of a run."""

    name: str
    """high, low, dit, vae or t5."""
    path: Path
    where: str
    """The key that chose it, for messages."""
    facts: WeightsFacts
    fetched_as: str = ""
    """What `wan22lora models fetch` calls it; empty where run.yaml names a path of its own."""

    @property
    def exists(self) -> bool:
        return os.path.isfile(self.path)  # noqa: PTH113 - is_file raises where a folder is closed

    @property
    def is_known(self) -> bool:
        """Whether `facts` tell of the file itself, or of why it cannot be read, and not of its name alone."""
        return self.exists or bool(self.facts.problem)

    @property
    def identity(self) -> str:
        """What a training depends on: name and size, so that moving a file changes nothing."""
        return f"{self.path.name} ({self.path.stat().st_size:,} bytes)" if self.exists else self.path.name

    def content(self, known: Mapping[str, str]) -> str:
        """What a cache depends on. Of a file that is not here, what is `known` of the one of its name, so that deleting
        it changes nothing."""
        try:
            return fingerprint(self.path)
        except OSError:
            return known.get(self.path.name, self.path.name)


def weights_of(spec: Spec, machine: Machine) -> dict[str, Weights]:
    """Every weight file of the run by name, the expert's own `checkpoint:` before `models:` before the machine's."""
    usual = {file.role: file for file in files_of(spec.task.name) if file.role != "tokenizer"}
    chosen: dict[str, Weights] = {}
    for name, file in usual.items():
        expert = next((expert for expert in spec.experts if _file_name(expert.name) == name), None)
        fetched_as = ""
        if expert is not None and expert.settings.checkpoint:
            path, where = Path(expert.settings.checkpoint), expert.where("checkpoint")
        elif name in spec.models:
            path, where = spec.models[name], spec.where("models", name)
        else:
            path, where, fetched_as = place(machine.models, file), f"models.{name}", file.name
        chosen[name] = Weights(name, path, where, _facts(path), fetched_as)
    return chosen


def _facts(path: Path) -> WeightsFacts:
    try:
        return inspect_weights(path) if path.is_file() else guess_from_name(path)
    except OSError as error:
        return replace(guess_from_name(path), kind="damaged", problem=f"cannot be read: {error.strerror or error}")


def expert_weights(weights: Mapping[str, Weights], expert: ExpertName) -> Weights:
    return weights[_file_name(expert)]


def _file_name(expert: ExpertName) -> str:
    return "dit" if expert == "single" else expert


def weights_findings(spec: Spec, weights: Mapping[str, Weights]) -> Iterator[Finding]:
    """Why musubi would refuse these files, or train the wrong thing with them."""
    for expert in spec.experts:
        yield from _expert_findings(expert, spec.task, expert_weights(weights, expert.name))
    yield from _shared_findings(
        weights["vae"], ("wan-vae", "torch-pickle"), "the VAE of Wan 2.1, wan_2.1_vae.safetensors"
    )
    wanted = "the T5 encoder in Wan's own layout, models_t5_umt5-xxl-enc-bf16.pth"
    yield from _shared_findings(weights["t5"], ("umt5-encoder", "torch-pickle"), wanted)


def _shared_findings(file: Weights, kinds: tuple[str, ...], wanted: str) -> Iterator[Finding]:
    # A name alone proves nothing for these two, except that of the 5B model's VAE.
    if file.facts.kind not in kinds and (file.is_known or file.facts.kind == "wan22-5b-vae"):
        yield Finding(file.where, f"{file.path.name} {what_it_is(file.facts)}", f"musubi needs {wanted}")


def _expert_findings(expert: Expert, task: Task, file: Weights) -> Iterator[Finding]:
    facts, settings = file.facts, expert.settings
    name = file.path.name
    if facts.fp8_scaled:
        text = f"{name} is an fp8_scaled file, which musubi cannot train on in any mode"
        yield Finding(file.where, text, "use the fp16 file; `fp8_base: true` holds it in 8 bits")
        return
    if facts.kind != "wan-dit" and (file.is_known or facts.kind == "gguf"):
        yield Finding(file.where, f"{name} {what_it_is(facts)}", "musubi needs Wan's expert as one .safetensors file")
        return
    if facts.dtype in ("fp16", "bf16") and settings.mixed_precision not in (None, facts.dtype):
        how = "at its first step" if settings.mixed_precision == "no" else "(wan_train_network.py:62-65)"
        text = f"{settings.mixed_precision} with {facts.dtype} weights ({name}) stops musubi {how}"
        yield Finding(expert.where("mixed_precision"), text, f"mixed_precision: {facts.dtype}")
    if facts.dtype in ("fp8_e4m3fn", "fp8_e5m2") and settings.fp8_scaled:
        text = f"{name} already holds 8-bit weights, which musubi cannot scale (wan_train_network.py:67)"
        yield Finding(expert.where("fp8_scaled"), text, "fp16 weights, or fp8_scaled: false")
    if facts.has_k_img:
        yield Finding(file.where, f"{name} is Wan 2.1's image-to-video model, for another task than {task.name}")
    elif facts.task is not None and (facts.task == "i2v") != task.image_to_video:
        kind = "an image-to-video" if facts.task == "i2v" else "a text-to-video"
        yield Finding(file.where, f"{name} is {kind} model and the task is {task.name}", "the weights of the task")
    if facts.expert is not None and expert.name != "single" and facts.expert != expert.name:
        text = f"{name} is the {facts.expert}-noise expert by its name; musubi cannot tell the two apart"
        yield Finding(file.where, text, "exchange the two files")
