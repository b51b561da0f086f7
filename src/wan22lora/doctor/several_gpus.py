"""Checks of which GPUs a run will use, and of how several go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from wan22lora.dataset.problems import listed
from wan22lora.doctor.check import Check, failure, ok, warning
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.needs import experts_to_train
from wan22lora.machine.gpus import BY_SLOT, ORDER_VARIABLE, usable_gpus
from wan22lora.machine.nvidia import Gpu
from wan22lora.plan.at_once import places_of


def several_gpus(facts: Facts) -> Iterator[Check]:
    devices = devices_of(facts)
    if facts.nvidia.driver is None or all(facts.nvidia.gpu(device) is None for device in devices):
        return
    several = len(facts.nvidia.gpus) > 1
    if several and _is_counted_otherwise(facts, devices):
        kinds = listed(sorted(_names(facts.nvidia.gpus)), " and ")
        text = (
            f"This machine has different GPUs ({kinds}). CUDA numbers them by speed and nvidia-smi by slot, so GPU "
            f"{listed(devices, ' and ')} may be {'another one' if len(devices) == 1 else 'others'} in training."
        )
        yield warning("gpu-order", text, f"export {ORDER_VARIABLE}={BY_SLOT}")
    elif several:
        yield ok("gpu-order", f"{len(facts.nvidia.gpus)} GPUs; {_used(facts)} (CUDA_VISIBLE_DEVICES chooses others)")
    yield from _too_few_to_share(facts)
    yield from _unlike(facts, devices)


def devices_of(facts: Facts) -> tuple[str, ...]:
    """The GPUs that the run will use, as CUDA_VISIBLE_DEVICES names them; the first where no run is known."""
    run = facts.run
    if run is None or run.spec is None:
        return (facts.machine.gpu,)
    trainings = [expert.step for expert in experts_to_train(run)]
    places = places_of(run.spec, trainings, usable_gpus(facts.machine.gpus, facts.nvidia))
    return tuple(dict.fromkeys(gpu for each in places.values() for gpu in each)) or (facts.machine.gpu,)


def _names(gpus: Iterable[Gpu]) -> set[str]:
    return {each.name for each in gpus}


def _is_counted_otherwise(facts: Facts, devices: Iterable[str]) -> bool:
    by_number = any(device.isdigit() for device in devices)
    return by_number and len(_names(facts.nvidia.gpus)) > 1 and facts.variables.get(ORDER_VARIABLE) != BY_SLOT


def _used(facts: Facts) -> str:
    usable, spec = usable_gpus(facts.machine.gpus, facts.nvidia), facts.run.spec if facts.run is not None else None
    if spec is not None and spec.parallel == "ddp" and len(usable) > 1:
        return f"each expert trains over GPU {listed(usable, ' and ')}"
    if len(usable) > 1 and (spec is None or (spec.parallel == "experts" and len(spec.experts) > 1)):
        return f"the two experts of a run train at the same time, on GPU {usable[0]} and GPU {usable[1]}"
    others = f"; {_why_no_others(facts)}" if len(usable) < 2 else ""
    return f"a run uses GPU {usable[0]}{others}"


def _too_few_to_share(facts: Facts) -> Iterator[Check]:
    run = facts.run
    if run is None or run.spec is None or run.spec.parallel != "ddp":
        return
    if len(usable_gpus(facts.machine.gpus, facts.nvidia)) < 2:
        text = f"`parallel: ddp` shares the batches of one expert between several GPUs: {_why_no_others(facts)}."
        there = ",".join(str(each.index) for each in facts.nvidia.gpus)
        fix = f"export CUDA_VISIBLE_DEVICES={there}, or parallel: experts in run.yaml"
        yield failure("gpu-parallel", text, fix if "," in there else "parallel: experts in run.yaml")


def _why_no_others(facts: Facts) -> str:
    """Why a run uses one GPU of this machine."""
    if len(facts.nvidia.gpus) < 2:
        return "this machine has one"
    if facts.machine.gpus:
        return "CUDA_VISIBLE_DEVICES names no other"
    if len(_names(facts.nvidia.gpus)) > 1:
        return "the others are of another kind, and not used unless CUDA_VISIBLE_DEVICES names them"
    return "the others are in use by other programs, and not used unless CUDA_VISIBLE_DEVICES names them"


def _unlike(facts: Facts, devices: Sequence[str]) -> Iterator[Check]:
    """Different GPUs that are named, and used by one run."""
    found = [gpu for device in devices if (gpu := facts.nvidia.gpu(device)) is not None]
    if len(_names(found)) < 2 or facts.run is None or facts.run.spec is None:
        return
    who = " and ".join(f"GPU {each.index} is {each.name}" for each in found)
    alike = next((same for each in found if len(same := _like(found, each)) > 1), [])
    if facts.run.spec.parallel != "ddp":
        text = f"{who}: the pair takes as long as the slower one, with the memory settings of the smaller one."
        yield ok("gpu-parallel", text)
        return
    fix = "parallel: experts in run.yaml"
    if alike:
        fix = f"export CUDA_VISIBLE_DEVICES={','.join(str(each.index) for each in alike)}, or {fix}"
    yield warning("gpu-parallel", f"{who}: every step takes as long as on the slowest of them.", fix)


def _like(gpus: Iterable[Gpu], one: Gpu) -> list[Gpu]:
    return [each for each in gpus if each.name == one.name]
