"""One expert by several GPUs (`parallel: ddp`): how many processes share its batches, and the batch that this makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.machine.settings import Machine
from wan22lora.spec.resolved import Spec


def processes_of(spec: Spec, machine: Machine) -> int:
    """Processes of each training; 1 unless the run asks for more and the machine has the GPUs."""
    return max(len(machine.gpus), 1) if spec.parallel == "ddp" else 1


def too_few_gpus(spec: Spec, machine: Machine) -> Iterator[Finding]:
    if spec.parallel == "ddp" and len(machine.gpus) < 2:
        yield Finding(
            spec.where("parallel"),
            "ddp shares the batches of one expert between several GPUs, and a training here may use one",
            "parallel: experts; or name the GPUs: export CUDA_VISIBLE_DEVICES=0,1",
        )


def shared_notes(spec: Spec, scans: Iterable[Scan], processes: int) -> Iterator[Finding]:
    """What a step learns from, which is no longer what run.yaml says of one GPU."""
    if processes < 2:
        return
    sizes = sorted({scan.source.batch_size for scan in scans})
    size = " or ".join(map(str, sizes))
    for accumulation in dict.fromkeys(expert.settings.gradient_accumulation or 1 for expert in spec.experts):
        effective = " or ".join(str(each * accumulation * processes) for each in sizes)
        yield Finding(
            spec.where("parallel"),
            f"ddp: every optimizer step learns from up to {effective} items (batch_size {size} × gradient_accumulation "
            f"{accumulation} × {processes} GPUs), so an epoch has fewer steps",
            level="note",
        )
