"""Several trainings at the same time, each on a GPU of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from wan22lora.errors import Finding
from wan22lora.plan.loading_ram import swapping_ram
from wan22lora.plan.model import Plan, Step
from wan22lora.plan.prepared import Prepared
from wan22lora.spec.resolved import Spec

GPU_VARIABLE, THREADS_VARIABLE = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"


def at_once(prepared: Prepared, gpus: Sequence[str], *, cores: int, ram_available: int | None) -> Prepared:
    """The run with its trainings beside each other instead of one after another, where there is a GPU for each.

    `gpus` are values of CUDA_VISIBLE_DEVICES; `cores` is how many CPU threads all trainings together may use,
    `ram_available` bytes, None where nobody knows.
    """
    plan, spec = prepared.plan, prepared.spec
    trainings = [step.id for step in _to_run(plan)]
    if not are_at_once(spec, trainings, gpus):
        short = tuple(_short_of_ram(prepared, trainings[:1], prepared.processes, ram_available))
        return replace(prepared, plan=replace(plan, notes=(*plan.notes, *short))) if short else prepared
    places = {step: gpu for step, (gpu,) in places_of(spec, trainings, gpus).items()}
    steps = tuple(
        _beside(step, places[step.id], trainings, cores // len(trainings)) if step.id in places else step
        for step in plan.steps
    )
    where = " and ".join(f"{step} on GPU {gpu}" for step, gpu in places.items())
    notes = [
        Finding(
            spec.where("parallel"),
            f"{where} train at the same time",
            "parallel: off in run.yaml trains one after the other",
            level="note",
        ),
        *_short_of_ram(prepared, trainings, 1, ram_available),
    ]
    return replace(prepared, plan=replace(plan, steps=steps, notes=(*plan.notes, *notes)))


def are_at_once(spec: Spec, trainings: Sequence[str], gpus: Sequence[str]) -> bool:
    """Whether these trainings, all that are still to run, run at the same time."""
    return spec.parallel == "experts" and 1 < len(trainings) <= len(gpus)


def places_of(spec: Spec, trainings: Sequence[str], gpus: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The GPUs that each of these trainings gets, as values of CUDA_VISIBLE_DEVICES; `gpus` are all that it may be."""
    if are_at_once(spec, trainings, gpus):
        return {step: (gpu,) for step, gpu in zip(trainings, gpus, strict=False)}
    return dict.fromkeys(trainings, tuple(gpus) if spec.parallel == "ddp" else tuple(gpus[:1]))


def trainings_at_once(plan: Plan) -> tuple[Step, ...]:
    """The trainings that will run and that another one does not wait for; none where fewer than two do."""
    trainings = _to_run(plan)
    ids = {step.id for step in trainings}
    beside = tuple(step for step in trainings if ids.isdisjoint(step.after))
    return beside if len(beside) > 1 else ()


def _to_run(plan: Plan) -> list[Step]:
    return [step for step in plan.steps if step.predicted_steps is not None and not step.fresh]


def _beside(step: Step, gpu: str, others: Iterable[str], cores: int) -> Step:
    env = {**step.env, GPU_VARIABLE: gpu}
    if THREADS_VARIABLE in env:
        env[THREADS_VARIABLE] = str(max(1, min(int(env[THREADS_VARIABLE]), cores)))
    return replace(step, env=env, after=tuple(each for each in step.after if each not in others))


def _short_of_ram(
    prepared: Prepared, trainings: Sequence[str], processes: int, available: int | None
) -> Iterator[Finding]:
    """All load at the same time, so that blocks which wait in RAM take it as many times; `processes` are of each."""
    spec = prepared.spec
    swapping = [each for each in spec.experts if each.step in trainings and each.settings.blocks_to_swap]
    needed = processes * sum(swapping_ram(spec, expert, prepared.weights) for expert in swapping)
    times = processes * len(swapping)
    if times > 1 and available is not None and needed > available:
        who = f"{times} experts" if processes == 1 else f"an expert in {processes} processes"
        yield Finding(
            spec.where("parallel"),
            f"loading {who} with swapped blocks at the same time takes {needed / 1e9:.0f} GB of RAM, "
            f"and {available / 1e9:.0f} GB are free",
            "parallel: off in run.yaml",
            level="warning",
        )
