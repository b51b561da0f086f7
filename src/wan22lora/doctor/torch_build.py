"""Checks of torch: its build against the driver and the GPU."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.doctor.check import Check, failure, gb, ok, warning
from wan22lora.doctor.environment import Torch
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.repair import install_torch
from wan22lora.spec.fast import computes_fast


def torch(facts: Facts) -> Iterator[Check]:
    found = facts.environment.torch
    if "torch.cuda" in facts.environment.errors:
        text = f"Asking torch for the GPU {facts.environment.errors['torch.cuda']}."
        yield failure("torch", text, "nvidia-smi")
        return
    if found is None:
        return
    problem = _problem(found, facts)
    if problem is not None:
        yield problem
    elif facts.nvidia.driver is not None:
        yield ok("torch", f"torch {found.version} computes on {found.name or 'the GPU'}")
    else:
        yield ok("torch", f"torch {found.version} is built for CUDA {_dotted(found.cuda)}")


def compiling(facts: Facts) -> Iterator[Check]:
    """Whether `speed: fast` can be had."""
    found = facts.environment.compiling
    spec = facts.run.spec if facts.run is not None else None
    if found is None or (spec is not None and not any(computes_fast(spec, expert) for expert in spec.experts)):
        return
    if not found.lack:
        place = f"; kernels are kept in {facts.machine.kernels} ({gb(facts.kernels)})" if facts.machine.kernels else ""
        yield ok("compile", f"torch compiles for this GPU{place}")
    elif spec is not None and spec.asks_for_speed:
        yield failure("compile", f"{found.lack}.", found.fix or "speed: reference in run.yaml")
    else:
        text = f"{found.lack}. Trainings go on with musubi's modules, which take about twice the time."
        yield warning("compile", text, found.fix or "speed: reference in run.yaml")


def _problem(found: Torch, facts: Facts) -> Check | None:
    told = f" It says: {found.trouble}" if found.trouble else ""
    driver = facts.nvidia.cuda
    if found.cuda is None:
        unknown = "" if facts.nvidia.cuda else " Which build fits is known once an NVIDIA driver answers."
        return failure("torch", f"torch {found.version} is a build without CUDA.{unknown}", install_torch(facts))
    if facts.nvidia.driver is None:
        return None  # the missing driver is told already
    if driver is not None and found.cuda[0] > driver[0]:
        text = f"torch {found.version} is built for CUDA {_dotted(found.cuda)}, the driver serves {_dotted(driver)}."
        return failure("torch", text, install_torch(facts))
    if not found.available:
        hidden = facts.nvidia.gpu(facts.machine.gpu) is None  # CUDA_VISIBLE_DEVICES names one that is not there
        fix = "export CUDA_VISIBLE_DEVICES=0" if hidden else "nvidia-smi"
        return failure("torch", f"torch {found.version} sees no GPU.{told}", fix)
    if found.capability and found.architectures and not _has_kernels(found.capability, found.architectures):
        text = (
            f"torch {found.version} has no kernels for {found.name} (compute capability {_dotted(found.capability)})."
        )
        return failure("torch", text, install_torch(facts))
    if not found.computes:
        return failure("torch", f"torch {found.version} cannot compute on {found.name}.{told}", "nvidia-smi")
    return None


def _has_kernels(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Compiled kernels run on later cards of the same major number, PTX (compute_…) on any later card."""
    for name in architectures:
        kind, _, digits = name.partition("_")
        number = "".join(letter for letter in digits if letter.isdigit())
        if len(number) < 2:
            continue
        have = (int(number[:-1]), int(number[-1]))
        if have <= capability and (kind == "compute" or have[0] == capability[0]):
            return True
    return False


def _dotted(pair: tuple[int, int] | None) -> str:
    return ".".join(map(str, pair)) if pair else "?"
