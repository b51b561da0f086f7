"""Checks of the driver and the GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wan22lora.dataset.problems import listed
from wan22lora.doctor.check import Check, failure, gib, ok, warning
from wan22lora.doctor.facts import Facts
from wan22lora.doctor.needs import GIB, Need, gpu_needs
from wan22lora.doctor.several_gpus import devices_of
from wan22lora.errors import command
from wan22lora.machine.nvidia import Gpu, GpuProcess

_AMPERE = (8, 0)
_SMALLEST = 14.5 * GIB
"""The smallest of the hardware classes in presets/hardware."""
_MUCH = GIB
"""More than a desktop takes."""


def driver(facts: Facts) -> Iterator[Check]:
    nvidia = facts.nvidia
    if nvidia.trouble is None and nvidia.driver is None:
        return  # the question itself failed, which is told elsewhere
    if nvidia.trouble is None:
        cuda = f", serves CUDA up to {nvidia.cuda[0]}.{nvidia.cuda[1]}" if nvidia.cuda else ""
        yield ok("driver", f"NVIDIA driver {nvidia.driver}{cuda}")
        return
    into_container = "docker run --gpus all …"
    text, fix = {
        "no driver": (
            "No NVIDIA GPU can be used here: this machine has no NVIDIA driver. Rehearsals and dry runs work, "
            "training does not.",
            into_container if facts.container else "",
        ),
        "driver not loaded": (
            "NVIDIA's driver is installed but not loaded, so no GPU can be used.",
            into_container if facts.container else "sudo modprobe nvidia",
        ),
        "driver changed": (
            "NVIDIA's driver was updated while the old one is still loaded, so no GPU can be used.",
            "sudo reboot",
        ),
        "not allowed": ("You may not use this machine's GPU.", "sudo usermod -aG video,render $USER"),
        "other": (f"NVIDIA's driver answers with an error: {nvidia.detail}.", "nvidia-smi"),
    }[nvidia.trouble]
    if nvidia.trouble == "no driver":
        where = "start the container with its GPUs" if facts.container else "install the driver, or rent a machine"
        text = f"{text} To train, {where}."
    yield failure("driver", text, fix)


def gpu(facts: Facts) -> Iterator[Check]:
    if facts.nvidia.driver is None:
        return
    devices = devices_of(facts)
    for device in devices:
        chosen = facts.nvidia.gpu(device)
        if chosen is None:
            yield _no_such_gpu(facts, device)
        else:
            yield from _kind(chosen, _prefix(device, devices))


def gpu_memory(facts: Facts) -> Iterator[Check]:
    """What other programs hold, and whether the run fits into the rest, of each GPU that it will use."""
    devices = devices_of(facts)
    for device in devices:
        yield from _memory_of(facts, device, _prefix(device, devices))


def _memory_of(facts: Facts, device: str, prefix: str) -> Iterator[Check]:
    chosen = facts.nvidia.gpu(device)
    if chosen is None or chosen.total is None or chosen.free is None:
        return
    used = chosen.total - chosen.free
    need = max(gpu_needs(facts.run), key=lambda each: each.amount, default=None) if facts.run else None
    users = _users(chosen)
    text = f"{prefix}{gib(chosen.free)} of {gib(chosen.total)} are free"
    if need is not None and need.amount > chosen.free:
        yield _too_little(chosen, need, users, prefix)
    elif used > _MUCH:
        held = f"held by {users}" if users else "in use by programs that this container cannot see"
        yield warning("gpu-memory", f"{text}; {gib(used)} are {held}.", _ending(chosen))
    elif need is not None:
        yield ok("gpu-memory", f"{text}; {need.what} takes about {gib(need.amount)}")
    else:
        yield ok("gpu-memory", text)


def _prefix(device: str, devices: Sequence[str]) -> str:
    return f"GPU {device}: " if len(devices) > 1 else ""


def _kind(chosen: Gpu, prefix: str) -> Iterator[Check]:
    memory = f", {gib(chosen.total)}" if chosen.total is not None else ""
    capability = f", compute capability {'.'.join(map(str, chosen.capability))}" if chosen.capability else ""
    text = f"{prefix}{chosen.name}{memory}{capability}"
    if chosen.total is not None and chosen.total < _SMALLEST:
        yield warning("gpu", f"{text}: musubi-tuner needs about 16 GB to train one of Wan's 14B experts.")
    elif chosen.capability is not None and chosen.capability < _AMPERE:
        yield warning("gpu", f"{text}: it is older than Ampere and computes neither bf16 nor fp8 fast.")
    else:
        yield ok("gpu", text)


def _no_such_gpu(facts: Facts, wanted: str) -> Check:
    if not facts.nvidia.gpus:
        return failure("gpu", "The NVIDIA driver answers, but it has no GPU to offer.", "nvidia-smi -L")
    if wanted.startswith("MIG-"):
        return warning("gpu", f"CUDA_VISIBLE_DEVICES names {wanted}, a part of a GPU, whose memory is not looked at.")
    there = listed([f"{each.index} ({each.name})" for each in facts.nvidia.gpus], " and ")
    text = f"CUDA_VISIBLE_DEVICES names {wanted}, and this machine has GPU {there}."
    named = [each for each in facts.machine.gpus if facts.nvidia.gpu(each) is not None]
    return failure("gpu", text, f"export CUDA_VISIBLE_DEVICES={','.join(named) or '0'}")


def _too_little(chosen: Gpu, need: Need, users: str, prefix: str) -> Check:
    assert chosen.total is not None
    assert chosen.free is not None
    takes = f"{prefix}{need.what.capitalize()} takes about {gib(need.amount)} of GPU memory"
    text = f"{takes}; {gib(chosen.free)} are free"
    if need.amount > chosen.total:
        text = f"{takes}; the card has {gib(chosen.total)}."
        return failure("gpu-memory", text, "hardware: auto in run.yaml, or more train.blocks_to_swap")
    return failure("gpu-memory", f"{text}{f', the rest is held by {users}' if users else ''}.", _ending(chosen))


def _users(chosen: Gpu) -> str:
    largest = sorted(chosen.processes, key=lambda each: -(each.memory or 0))
    return listed([_user(each) for each in largest], " and ")


def _user(process: GpuProcess) -> str:
    memory = f" {gib(process.memory)}" if process.memory is not None else ""
    return f"{process.name or 'a program'} (process {process.pid}){memory}"


def _ending(chosen: Gpu) -> str:
    """The command that ends the person's own programs there; nvidia-smi where there are none."""
    own = [str(each.pid) for each in chosen.processes if each.own and (each.memory is None or each.memory > _MUCH)]
    return command("kill", *own) if own else "nvidia-smi"
