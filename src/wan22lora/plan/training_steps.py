"""The steps that train: their commands, what their results depend on, and whether they run, go on or are done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from wan22lora.dataset.predict import total_steps
from wan22lora.dataset.scan import Scan
from wan22lora.errors import Finding
from wan22lora.musubi.options import Option, further_options, train_options
from wan22lora.musubi.programs import TRAIN, kept_kernels, without_launcher
from wan22lora.plan.caching_steps import CACHE_STEPS
from wan22lora.plan.class_captions import class_of
from wan22lora.plan.continuation import Before, passed_over, turn_of
from wan22lora.plan.made_from import Learned, changes_in_words
from wan22lora.plan.material import Material
from wan22lora.plan.model import Step
from wan22lora.plan.options_check import contract_findings, doubled
from wan22lora.plan.prepared import History
from wan22lora.plan.states import Kept, states_of
from wan22lora.plan.trainer_options import trainer_findings, trainer_options
from wan22lora.plan.training import training_key
from wan22lora.plan.weights import Weights, expert_weights
from wan22lora.spec.fast import computes_fast
from wan22lora.spec.resolved import Expert


class Training(NamedTuple):
    """A step with what musubi or the trainer would refuse, and the states that it does not go on from."""

    step: Step
    findings: list[Finding]
    passed_over: list[Finding]


def training(material: Material, expert: Expert, learned: Learned) -> Training:
    """`learned` is what the expert learns from: latents and captions as they are now."""
    spec, settings, step = material.spec, expert.settings, expert.step
    done, kept = material.history.keys.get(step, {}), material.history.states.get(step, Kept())
    states = states_of(spec.folder, step)
    options, findings = _options(material, expert, states)
    key = training_key(
        options,
        weights=_identity(expert_weights(material.weights, expert.name), (done, kept.key)),
        dataset=_dataset_key(material.trained),
        learned=learned.digest,
        revision=spec.pin.name,
        preserved=class_of(expert),
        held_out=" ".join(material.held_out.file().splitlines()),
    )
    total = total_steps(
        material.batches,
        accumulation=settings.gradient_accumulation or 1,
        epochs=settings.epochs,
        steps=settings.steps,
        processes=material.processes,
    )
    name = spec.output_name(expert)
    files = (name, f"{name}-ema") if settings.ema else (name,)
    writes = tuple(_output(material) / f"{file}.safetensors" for file in files)
    before = Before(done, kept, writes, partial(_say_learned, material.history, learned))
    turn = turn_of(step, key, before, material.asked, total=total, extension=material.extension)
    argv, env = _launch(material, expert, options)
    planned = Step(
        id=step,
        argv=argv,
        cwd=material.machine.musubi,
        env=env,
        after=CACHE_STEPS,
        writes=writes,
        key=key,
        learned=learned.records,
        fresh=turn.fresh,
        why=turn.why,
        predicted_steps=total,
        states=states if material.extension else None,
        continues=turn.continues,
        anew=turn.anew,
        can_wait=material.extension and material.processes == 1,
        refusal=turn.refusal,
    )
    return Training(planned, findings, list(passed_over(step, kept, turn)))


def one_after_another(trainings: Iterable[Step]) -> list[Step]:
    """Each training after those before it: they share a GPU."""
    chain: list[Step] = []
    for step in trainings:
        chain.append(replace(step, after=(*step.after, *(earlier.id for earlier in chain))))
    return chain


def _output(material: Material) -> Path:
    return material.spec.folder / "output"


def _say_learned(history: History, learned: Learned, before: str) -> str:
    """In words, where the run folder still knows what an earlier training learned from."""
    known = history.learned(before)
    return changes_in_words(known, learned.records) if known else ""


def _options(material: Material, expert: Expert, states: Path) -> tuple[list[Option], list[Finding]]:
    """musubi's options, then the trainer extension's own, with what is wrong with either."""
    options = _musubi_options(material, expert)
    findings = [
        *doubled(expert.options, expert.option_origins),
        *contract_findings(material.contract, TRAIN, options, expert),
    ]
    if not material.extension:
        return options, findings
    held_out = material.held_out_file if material.held_out else None
    own = trainer_options(material.spec, expert, states=states, held_out=held_out, processes=material.processes)
    return [*options, *own], [*findings, *trainer_findings(material.contract, own, expert)]


def _musubi_options(material: Material, expert: Expert) -> list[Option]:
    settings, weights = expert.settings, material.weights
    output_name = material.spec.output_name(expert)
    filled = {
        **settings.model_dump(exclude={"checkpoint"}),
        "alpha": settings.alpha if settings.alpha is not None else settings.rank,
        "output_name": output_name,
        "title": settings.title or output_name,
    }
    dit = expert_weights(weights, expert.name)
    return [
        *train_options(
            filled,
            task=material.spec.task.name,
            weights={"dit": dit.path, "vae": weights["vae"].path, "t5": weights["t5"].path},
            dataset_config=material.dataset_config,
            output_dir=_output(material),
            known=frozenset(name.removeprefix("--") for name in material.contract.programs[TRAIN]),
        ),
        *further_options(expert.options),
    ]


def _launch(material: Material, expert: Expert, options: list[Option]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command of a training and its variables."""
    machine, processes, env = material.machine, material.processes, material.environment
    precision = expert.settings.mixed_precision or "no"
    threads = max(1, machine.cpu_threads // processes) if expert.settings.blocks_to_swap else 1
    if not material.extension:
        config = material.accelerate_config
        argv = material.programs.train(
            options, mixed_precision=precision, accelerate_config=config, cpu_threads=threads
        )
        return argv, env
    instead = without_launcher(mixed_precision=precision, cpu_threads=threads)
    kernels = machine.kernels if computes_fast(material.spec, expert) else None
    kept = kept_kernels(kernels, os.environ) if kernels is not None else {}
    gpus = {"CUDA_VISIBLE_DEVICES": ",".join(machine.gpus)} if processes > 1 else {}
    return material.programs.extended_train(options), {**env, **instead, **kept, **gpus}


def _identity(weights: Weights, records: Iterable[Mapping[str, str]]) -> str:
    """Of a file that is not here: what is recorded of the one of its name, so that deleting it changes nothing."""
    if not weights.exists:
        for record in records:
            if record.get("weights", "").startswith(f"{weights.path.name} ("):
                return record["weights"]
    return weights.identity


def _dataset_key(scans: tuple[Scan, ...]) -> str:
    """What of the dataset's settings decides how the caches are put into batches."""
    return "; ".join(
        f"{source.resolution[0]}×{source.resolution[1]} batch {source.batch_size} repeats {source.repeats}"
        f"{'' if source.bucket else ' no buckets'}{' no upscale' if source.bucket_no_upscale else ''}"
        for source in (scan.source for scan in scans)
    )
