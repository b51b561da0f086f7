"""Spec + dataset + machine → Plan. Reads files, writes none, starts no process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from wan22lora.dataset.memory import Memory
from wan22lora.dataset.predict import batches_per_epoch, total_steps
from wan22lora.dataset.scan import Scan, scan
from wan22lora.errors import Finding, SpecError
from wan22lora.machine.settings import Machine
from wan22lora.musubi.contract import Contract, load_contract
from wan22lora.musubi.dataset_toml import dataset_toml
from wan22lora.musubi.options import (
    Option,
    cache_latents_options,
    cache_text_options,
    further_options,
    train_options,
)
from wan22lora.musubi.programs import (
    ACCELERATE_CONFIG,
    CACHE_LATENTS,
    CACHE_TEXT,
    TRAIN,
    Programs,
    kept_kernels,
    without_launcher,
)
from wan22lora.plan.adoption import Offers
from wan22lora.plan.agreement import disagreements
from wan22lora.plan.caches import CacheState, cache_state, foreign_notes, latents_keys, text_keys
from wan22lora.plan.choice import GpuMemory, memory_choices, with_memory
from wan22lora.plan.class_captions import captions_file, class_captions, class_of
from wan22lora.plan.contents import Contents
from wan22lora.plan.continuation import Asked, Before, passed_over, turn_of
from wan22lora.plan.held_out import HELD_OUT_FILE, HeldOut, hold_out
from wan22lora.plan.learned import learned_from
from wan22lora.plan.made_from import Learned, Records, changes_in_words
from wan22lora.plan.manifest import CacheKind, Key, Manifest
from wan22lora.plan.model import Plan, PlannedFile, Step, StepId
from wan22lora.plan.never_due import never_due
from wan22lora.plan.options_check import contract_findings, doubled
from wan22lora.plan.preservation_cost import preservation_cost
from wan22lora.plan.rehearse import rehearse
from wan22lora.plan.shared import processes_of, shared_notes
from wan22lora.plan.sources import sources
from wan22lora.plan.states import Kept, states_of
from wan22lora.plan.too_large import memory_notes
from wan22lora.plan.trainer_options import trainer_findings, trainer_options
from wan22lora.plan.training import training_key
from wan22lora.plan.weights import Weights, expert_weights, weights_findings, weights_of
from wan22lora.spec.document import in_file_order
from wan22lora.spec.fast import computes_fast
from wan22lora.spec.resolved import Expert, Spec

CACHE_STEPS: tuple[StepId, ...] = ("cache-latents", "cache-text")
SPEED_ONLY = frozenset({"num_workers", "batch_size", "device", "vae_cache_cpu", "disable_cudnn_backend"})
"""Caching options that do not change what is in a cache."""


@dataclass(frozen=True)
class History:
    """What earlier runs in the same folder left: keys of finished trainings, states, the manifest of the caches."""

    keys: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    states: Mapping[str, Kept] = field(default_factory=dict)
    manifest: Manifest = field(default_factory=Manifest)
    at_most: GpuMemory | None = None
    """Memory settings above which the GPU's memory ran out."""
    offers: Offers = field(default_factory=Offers)
    """Cache files of this and other runs that may be taken over."""
    learned: Callable[[str], Records] = lambda _: {}
    """What a training of this run learned from, by its digest; nothing where nobody wrote it down."""


@dataclass(frozen=True)
class Prepared:
    """A plan with the facts that it was made from."""

    plan: Plan
    spec: Spec
    scans: tuple[Scan, ...]
    weights: Mapping[str, Weights]
    caches: Mapping[str, CacheState]
    contents: Contents
    dataset_findings: tuple[Finding, ...]
    """What is wrong with pictures, clips and captions; errors among them stop a run, not a dry run."""
    batches_per_epoch: int
    held_out: HeldOut
    processes: int = 1
    """Of each training, which share its batches."""

    @property
    def trained(self) -> tuple[Scan, ...]:
        """The datasets without the items that are held out."""
        return self.held_out.left_of(self.scans)


def prepare(
    spec: Spec,
    machine: Machine,
    history: History,
    *,
    rehearsal: bool = False,
    force: frozenset[str] = frozenset(),
    restart: frozenset[str] = frozenset(),
    extend: bool = False,
    memory: Memory | None = None,
) -> Prepared:
    """Builds the plan of a run.

    `force` names steps that run though nothing changed, `restart` trainings that begin at their first step whatever is
    there of them; with `extend` trainings that are only to become longer go on. What `memory` knows of a
    picture or clip is not read again. Raises SpecError with every option, weight file and value that musubi would
    refuse. A step with a `refusal` must not run.
    """
    return _Builder(spec, machine, history, rehearsal, Asked(force, restart, extend), memory or Memory()).prepared()


class _Builder:
    """Holds what the parts of one plan share; lives for one call of prepare."""

    def __init__(
        self, spec: Spec, machine: Machine, history: History, rehearsal: bool, asked: Asked, memory: Memory
    ) -> None:
        self.scans = tuple(scan(source, memory) for source in sources(spec))
        self.spec, self.machine, self.history = with_memory(spec, self.scans, history.at_most), machine, history
        self.rehearsal, self.asked = rehearsal, asked
        self.extension = spec.trainer == "extension"
        self.processes = processes_of(spec, machine)
        self.programs = Programs(machine.musubi, machine.python)
        self.contract: Contract = load_contract(spec.pin)
        self.weights = weights_of(spec, machine)
        self.classes = class_captions(spec, self.scans)
        self.held_out = hold_out(spec.validation.hold_out, self.scans) if spec.validation else HeldOut()
        self.trained = self.held_out.left_of(self.scans)
        self.contents = Contents(history.manifest.contents, memory)
        self.dataset_config = spec.folder / "dataset.toml"
        self.text_config = spec.folder / "dataset-text.toml" if self.classes else self.dataset_config
        self.held_out_file = spec.folder / HELD_OUT_FILE
        self.accelerate_config = spec.folder / "accelerate.yaml"
        self.findings: list[Finding] = []
        self.passed_over: list[Finding] = []

    def prepared(self) -> Prepared:
        self.findings += weights_findings(self.spec, self.weights)
        latents_step, latents = self._cache_latents()
        text_step, text = self._cache_text()
        caches = (latents, text)
        classes = {class_of(expert) for expert in self.spec.experts}  # mostly the same for both: not computed twice
        learned = {class_: Learned.of(learned_from(class_, self.trained, caches)) for class_ in classes}
        trainings = _one_after_another(self._train(expert, learned[class_of(expert)]) for expert in self.spec.experts)
        if self.findings:
            raise SpecError(
                f"{self.spec.file.name} cannot be used", findings=in_file_order(dict.fromkeys(self.findings))
            )
        plan = Plan(
            name=self.spec.name,
            folder=self.spec.folder,
            files=tuple(self._files()),
            steps=(latents_step, text_step, *trainings),
            rehearsal=self.rehearsal,
            notes=(
                *self.spec.notes,
                *dict.fromkeys(memory_notes(self.spec, self.scans, self.weights)),
                *memory_choices(self.spec, self.scans, self.history.at_most),
                *preservation_cost(self.spec),
                *never_due(self.spec, self.batches, self.processes),
                *shared_notes(self.spec, self.trained, self.processes),
                *foreign_notes(caches),
                *self.passed_over,
            ),
        )
        return Prepared(
            plan=rehearse(plan, self.spec) if self.rehearsal else plan,
            spec=self.spec,
            scans=self.scans,
            weights=self.weights,
            caches={"cache-latents": latents, "cache-text": text},
            contents=self.contents,
            dataset_findings=(
                *(finding for scan in self.scans for finding in scan.findings),
                *disagreements(self.spec, self.scans),
            ),
            batches_per_epoch=self.batches,
            held_out=self.held_out,
            processes=self.processes,
        )

    @cached_property
    def batches(self) -> int:
        return batches_per_epoch(self.trained)

    def _files(self) -> Iterator[PlannedFile]:
        yield PlannedFile(self.dataset_config, dataset_toml(scan.source for scan in self.scans))
        if self.classes:
            yield PlannedFile(self.text_config, dataset_toml(scan.source for scan in (*self.scans, *self.classes)))
            yield from map(captions_file, self.classes)
        if self.held_out:
            yield PlannedFile(self.held_out_file, self.held_out.file())
        if not self.extension:
            yield PlannedFile(self.accelerate_config, ACCELERATE_CONFIG)

    def _cache_latents(self) -> tuple[Step, CacheState]:
        vae, task = self.weights["vae"], self.spec.task
        given = self.spec.cache_latents
        self.findings += doubled(given.values, given.origins)
        options = [
            *cache_latents_options(
                dataset_config=self.dataset_config, vae=vae.path, image_to_video=task.image_to_video
            ),
            *further_options(given.values),
        ]
        self.findings += contract_findings(self.contract, CACHE_LATENTS, options, given)
        common = {
            "vae": vae.content(self.history.manifest.weights),
            "task": "image-to-video" if task.image_to_video else "text-to-video",
            **self._common(given.values),
        }
        self.contents.read(item.path for scan in self.scans for item in scan.items)
        keys = latents_keys(self.scans, self.contents, common)
        state = self._state("latents", keys, vae)
        return self._cache_step("cache-latents", CACHE_LATENTS, options, state), state

    def _cache_text(self) -> tuple[Step, CacheState]:
        t5 = self.weights["t5"]
        given = self.spec.cache_text
        self.findings += doubled(given.values, given.origins)
        options = [
            *cache_text_options(dataset_config=self.text_config, t5=t5.path),
            *further_options(given.values),
        ]
        self.findings += contract_findings(self.contract, CACHE_TEXT, options, given)
        common = {"t5": t5.content(self.history.manifest.weights), **self._common(given.values)}
        keys = text_keys((*self.scans, *self.classes), common)
        state = self._state("text", keys, t5)
        return self._cache_step("cache-text", CACHE_TEXT, options, state), state

    def _common(self, given: Mapping[str, object]) -> dict[str, str]:
        options = {
            name: value for name, value in given.items() if name not in SPEED_ONLY and value not in (None, False)
        }
        shown = " ".join(f"{name}={value}" for name, value in sorted(options.items()))
        return {"musubi": self.spec.pin.name, **({"options": shown} if shown else {})}

    def _state(self, kind: CacheKind, keys: Mapping[Path, Key], encoder: Weights) -> CacheState:
        return cache_state(
            kind,
            keys,
            self.history.manifest,
            (scan.source.cache for scan in self.scans),
            force=f"cache-{kind}" in self.asked.again,
            offers=self.history.offers,
            weights={encoder.path.name: encoder.content({})} if encoder.exists else {},
        )

    def _cache_step(self, step: StepId, program: str, options: list[Option], state: CacheState) -> Step:
        return Step(
            id=step,
            argv=self.programs.cache(program, options),
            cwd=self.machine.musubi,
            env=self._environment(),
            after=CACHE_STEPS[: CACHE_STEPS.index(step)],
            writes=tuple(state.expected),
            stale=tuple(path for path in state.outdated if path not in state.taken),
            taken={path: offer.path for path, offer in state.taken.items()},
            foreign=state.foreign,
            fresh=not state.missing,
            why=state.why,
        )

    def _train(self, expert: Expert, learned: Learned) -> Step:
        settings = expert.settings
        output_name, step = self.spec.output_name(expert), expert.step
        done, kept = self.history.keys.get(step, {}), self.history.states.get(step, Kept())
        states = states_of(self.spec.folder, step)
        output = self.spec.folder / "output"
        options = self._musubi_options(expert, output_name, output)
        own = self._trainer_options(expert, states) if self.extension else []
        writes = tuple(
            output / f"{output_name}{suffix}.safetensors" for suffix in ("", *(("-ema",) if settings.ema else ()))
        )
        key = training_key(
            [*options, *own],
            weights=_identity(expert_weights(self.weights, expert.name), (done, kept.key)),
            dataset=_dataset_key(self.trained),
            learned=learned.digest,
            revision=self.spec.pin.name,
            preserved=class_of(expert),
            held_out=" ".join(self.held_out.file().splitlines()),
        )
        total = total_steps(
            self.batches,
            accumulation=settings.gradient_accumulation or 1,
            epochs=settings.epochs,
            steps=settings.steps,
            processes=self.processes,
        )
        argv, env = self._launch(expert, [*options, *own])
        before = Before(done, kept, writes, partial(self._say_learned, learned))
        turn = turn_of(step, key, before, self.asked, total=total, extension=self.extension)
        self.passed_over += passed_over(step, kept, turn)
        return Step(
            id=step,
            argv=argv,
            cwd=self.machine.musubi,
            env=env,
            after=CACHE_STEPS,
            writes=writes,
            key=key,
            learned=learned.records,
            fresh=turn.fresh,
            why=turn.why,
            predicted_steps=total,
            states=states if self.extension else None,
            continues=turn.continues,
            anew=turn.anew,
            can_wait=self.extension and self.processes == 1,
            refusal=turn.refusal,
        )

    def _say_learned(self, learned: Learned, before: str) -> str:
        """In words, where the run folder still knows what an earlier training learned from."""
        known = self.history.learned(before)
        return changes_in_words(known, learned.records) if known else ""

    def _musubi_options(self, expert: Expert, output_name: str, output: Path) -> list[Option]:
        settings = expert.settings
        filled = {
            **settings.model_dump(exclude={"checkpoint"}),
            "alpha": settings.alpha if settings.alpha is not None else settings.rank,
            "output_name": output_name,
            "title": settings.title or output_name,
        }
        dit = expert_weights(self.weights, expert.name)
        self.findings += doubled(expert.options, expert.option_origins)
        options = [
            *train_options(
                filled,
                task=self.spec.task.name,
                weights={"dit": dit.path, "vae": self.weights["vae"].path, "t5": self.weights["t5"].path},
                dataset_config=self.dataset_config,
                output_dir=output,
                known=frozenset(name.removeprefix("--") for name in self.contract.programs[TRAIN]),
            ),
            *further_options(expert.options),
        ]
        self.findings += contract_findings(self.contract, TRAIN, options, expert)
        return options

    def _trainer_options(self, expert: Expert, states: Path) -> list[Option]:
        held_out = self.held_out_file if self.held_out else None
        options = trainer_options(self.spec, expert, states=states, held_out=held_out, processes=self.processes)
        self.findings += trainer_findings(self.contract, options, expert)
        return options

    def _launch(self, expert: Expert, options: list[Option]) -> tuple[tuple[str, ...], dict[str, str]]:
        """The command of a training and its variables."""
        precision = expert.settings.mixed_precision or "no"
        threads = max(1, self.machine.cpu_threads // self.processes) if expert.settings.blocks_to_swap else 1
        if self.extension:
            instead = without_launcher(mixed_precision=precision, cpu_threads=threads)
            kernels = self.machine.kernels if computes_fast(self.spec, expert) else None
            kept = kept_kernels(kernels, os.environ) if kernels is not None else {}
            gpus = {"CUDA_VISIBLE_DEVICES": ",".join(self.machine.gpus)} if self.processes > 1 else {}
            return self.programs.extended_train(options), {**self._environment(), **instead, **kept, **gpus}
        config = self.accelerate_config
        argv = self.programs.train(options, mixed_precision=precision, accelerate_config=config, cpu_threads=threads)
        return argv, self._environment()

    def _environment(self) -> dict[str, str]:
        return self.programs.environment(self.machine.gpu, self.machine.hub)


def _one_after_another(trainings: Iterable[Step]) -> list[Step]:
    """Each training after those before it: they share a GPU."""
    chain: list[Step] = []
    for training in trainings:
        chain.append(replace(training, after=(*training.after, *(earlier.id for earlier in chain))))
    return chain


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
