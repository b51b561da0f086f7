"""The two steps that fill the caches: their commands, and which of their files have to be written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from wan22lora.errors import Finding
from wan22lora.musubi.options import Option, cache_latents_options, cache_text_options, further_options
from wan22lora.musubi.programs import CACHE_LATENTS, CACHE_TEXT
from wan22lora.plan.by_hand import Note, times_of, vouched_for
from wan22lora.plan.caches import CacheState, cache_state, latents_keys, text_keys
from wan22lora.plan.manifest import CacheKind, Key
from wan22lora.plan.material import Material
from wan22lora.plan.model import Step, StepId
from wan22lora.plan.options_check import contract_findings, doubled
from wan22lora.plan.weights import Weights
from wan22lora.spec.resolved import Spec

CACHE_STEPS: tuple[StepId, ...] = ("cache-latents", "cache-text")
SPEED_ONLY = frozenset({"num_workers", "batch_size", "device", "vae_cache_cpu", "disable_cudnn_backend"})
"""Caching options that do not change what is in a cache."""


class CachingStep(NamedTuple):
    """A step with the state of its cache and what musubi would refuse."""

    step: Step
    state: CacheState
    findings: list[Finding]


def cache_latents(material: Material) -> CachingStep:
    spec, vae, given = material.spec, material.weights["vae"], material.spec.cache_latents
    image_to_video = spec.task.image_to_video
    options = [
        *cache_latents_options(dataset_config=material.dataset_config, vae=vae.path, image_to_video=image_to_video),
        *further_options(given.values),
    ]
    common = {
        "vae": vae.content(material.history.manifest.weights),
        "task": "image-to-video" if image_to_video else "text-to-video",
        **_common(spec, given.values),
    }
    material.contents.read(item.path for scan in material.scans for item in scan.items)
    keys = latents_keys(material.scans, material.contents, common)
    note = material.history.notes.get("latents", Note())
    times = times_of(material.scans, material.contents) if note.made else {}
    state = _state(material, "latents", keys, vae, vouched_for(note, keys, times))
    findings = [
        *doubled(given.values, given.origins),
        *contract_findings(material.contract, CACHE_LATENTS, options, given),
    ]
    return CachingStep(_step(material, "cache-latents", CACHE_LATENTS, options, state), state, findings)


def cache_text(material: Material) -> CachingStep:
    spec, t5, given = material.spec, material.weights["t5"], material.spec.cache_text
    options = [
        *cache_text_options(dataset_config=material.text_config, t5=t5.path),
        *further_options(given.values),
    ]
    common = {"t5": t5.content(material.history.manifest.weights), **_common(spec, given.values)}
    keys = text_keys((*material.scans, *material.classes), common)
    state = _state(material, "text", keys, t5, vouched_for(material.history.notes.get("text", Note()), keys, {}))
    findings = [
        *doubled(given.values, given.origins),
        *contract_findings(material.contract, CACHE_TEXT, options, given),
    ]
    return CachingStep(_step(material, "cache-text", CACHE_TEXT, options, state), state, findings)


def _common(spec: Spec, given: Mapping[str, object]) -> dict[str, str]:
    """The parts of a cache file's key that all files of a kind share."""
    options = {name: value for name, value in given.items() if name not in SPEED_ONLY and value not in (None, False)}
    shown = " ".join(f"{name}={value}" for name, value in sorted(options.items()))
    return {"musubi": spec.pin.name, **({"options": shown} if shown else {})}


def _state(
    material: Material, kind: CacheKind, keys: Mapping[Path, Key], encoder: Weights, vouched: frozenset[Path]
) -> CacheState:
    return cache_state(
        kind,
        keys,
        material.history.manifest,
        (scan.source.cache for scan in material.scans),
        force=f"cache-{kind}" in material.asked.again,
        offers=material.history.offers,
        weights={encoder.path.name: encoder.content({})} if encoder.exists else {},
        vouched=vouched,
    )


def _step(material: Material, step: StepId, program: str, options: list[Option], state: CacheState) -> Step:
    return Step(
        id=step,
        argv=material.programs.cache(program, options),
        cwd=material.machine.musubi,
        env=material.environment,
        after=CACHE_STEPS[: CACHE_STEPS.index(step)],
        writes=tuple(state.expected),
        stale=tuple(path for path in state.outdated if path not in state.taken),
        taken={path: offer.path for path, offer in state.taken.items()},
        foreign=state.foreign,
        fresh=not state.missing,
        why=state.why,
    )
