"""Spec + dataset + machine → Plan. Reads files, writes none, starts no process."""

from __future__ import annotations

from wan22lora.dataset.memory import Memory
from wan22lora.errors import SpecError
from wan22lora.machine.settings import Machine
from wan22lora.plan.agreement import disagreements
from wan22lora.plan.caches import foreign_notes
from wan22lora.plan.caching_steps import cache_latents, cache_text
from wan22lora.plan.choice import memory_choices
from wan22lora.plan.class_captions import class_of
from wan22lora.plan.continuation import Asked
from wan22lora.plan.learned import learned_from
from wan22lora.plan.made_from import Learned
from wan22lora.plan.material import Material
from wan22lora.plan.model import Plan
from wan22lora.plan.never_due import never_due
from wan22lora.plan.prepared import History, Prepared
from wan22lora.plan.preservation_cost import preservation_cost
from wan22lora.plan.rehearse import rehearse
from wan22lora.plan.shared import shared_notes
from wan22lora.plan.too_large import memory_notes
from wan22lora.plan.training_steps import one_after_another, training
from wan22lora.plan.weights import weights_findings
from wan22lora.spec.document import in_file_order
from wan22lora.spec.resolved import Spec


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
    material = Material.of(spec, machine, history, Asked(force, restart, extend), memory or Memory())
    spec = material.spec
    latents, text = cache_latents(material), cache_text(material)
    caches = (latents.state, text.state)
    classes = {class_of(expert) for expert in spec.experts}  # mostly the same for both: not computed twice
    learned = {class_: Learned.of(learned_from(class_, material.trained, caches)) for class_ in classes}
    trainings = [training(material, expert, learned[class_of(expert)]) for expert in spec.experts]
    findings = [
        *weights_findings(spec, material.weights),
        *latents.findings,
        *text.findings,
        *(finding for made in trainings for finding in made.findings),
    ]
    if findings:
        raise SpecError(f"{spec.file.name} cannot be used", findings=in_file_order(dict.fromkeys(findings)))
    plan = Plan(
        name=spec.name,
        folder=spec.folder,
        files=tuple(material.files()),
        steps=(latents.step, text.step, *one_after_another(made.step for made in trainings)),
        rehearsal=rehearsal,
        notes=(
            *spec.notes,
            *dict.fromkeys(memory_notes(spec, material.scans, material.weights)),
            *memory_choices(spec, material.scans, history.at_most),
            *preservation_cost(spec),
            *never_due(spec, material.batches, material.processes),
            *shared_notes(spec, material.trained, material.processes),
            *foreign_notes(caches),
            *(finding for made in trainings for finding in made.passed_over),
        ),
    )
    return Prepared(
        plan=rehearse(plan, spec) if rehearsal else plan,
        spec=spec,
        scans=material.scans,
        weights=material.weights,
        caches={"cache-latents": latents.state, "cache-text": text.state},
        contents=material.contents,
        dataset_findings=(
            *(finding for scan in material.scans for finding in scan.findings),
            *disagreements(spec, material.scans),
        ),
        batches_per_epoch=material.batches,
        held_out=material.held_out,
        processes=material.processes,
    )
