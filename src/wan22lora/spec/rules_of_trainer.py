"""What the trainer extension and musubi's own program each cannot do. TB is training/trainer_base.py at v0.3.4."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.musubi.pins import ARTICLE
from wan22lora.spec.fast import left_to_musubi
from wan22lora.spec.resolved import Expert, Spec

OF_THE_EXTENSION = ("preservation", "ema", "states", "max_nan_steps")
"""Keys of a training that musubi's own program has nothing like."""


def broken_by_trainer(spec: Spec) -> Iterator[Finding]:
    """What the run asks of its trainer in vain."""
    if spec.trainer == "extension" and spec.pin is ARTICLE:
        text = "`extension` is written for v0.3.4; at article musubi's own program trains"
        yield Finding(spec.where("trainer"), text, "remove it, or pin: v0.3.4")
    if spec.trainer == "plain" or spec.pin is ARTICLE:
        yield from _asked_of_the_plain_program(spec)
    else:
        for expert in spec.experts if spec.speed != "reference" else ():
            yield from left_to_musubi(spec, expert)
            if spec.speed == "max" and not expert.settings.fp8_base:
                text = "is off, and speed: max multiplies with weights of 8 bits"
                yield Finding(expert.where("fp8_base"), text, "fp8_base: true, or speed: fast")
            if spec.speed == "max" and expert.settings.fp8_scaled and expert.options.get("block_swap_h2d_only"):
                text = "does not go with fp8_scaled under speed: max, which scales weights anew where they lie"
                where = expert.where_option("block_swap_h2d_only")
                yield Finding(where, text, "remove it, or fp8_scaled: false, or speed: fast")
    for expert in spec.experts:
        yield from _preservation(expert, spec)
        yield from _options(expert, spec)
        if expert.settings.save_state and spec.parallel == "ddp":
            text = "does not go with parallel: ddp; the training's own states hold what all its processes need"
            yield Finding(expert.where("save_state"), text, "save_state: false, or parallel: experts")


def _asked_of_the_plain_program(spec: Spec) -> Iterator[Finding]:
    by_pin = spec.pin is ARTICLE
    text = f"needs the trainer extension, which {'pin: article' if by_pin else 'trainer: plain'} does without"
    otherwise = "pin: v0.3.4" if by_pin else "trainer: extension"
    if spec.validation is not None:
        yield Finding(spec.where("validation"), text, f"remove it, or {otherwise}")
    if spec.speed != "reference":
        yield Finding(spec.where("speed"), f"{spec.speed} {text}", f"speed: reference, or {otherwise}")
    if spec.parallel == "ddp":
        yield Finding(spec.where("parallel"), f"ddp {text}", f"parallel: experts, or {otherwise}")
    for expert in spec.experts:
        for key in OF_THE_EXTENSION:
            if getattr(expert.settings, key) is not None:
                of_preset = expert.origins[key].layer.kind == "preset"
                fix = f"train: {{{key}: null}}" if of_preset else "remove it"
                yield Finding(expert.where(key), text, f"{fix}, or {otherwise}")


def _preservation(expert: Expert, spec: Spec) -> Iterator[Finding]:
    preservation = expert.settings.preservation
    if preservation is None:
        return
    where, name = expert.where("preservation", "class"), preservation.class_
    if spec.trigger is None or not spec.trigger.strip():
        yield Finding(
            spec.where("trigger"),
            f"is missing: preservation ({expert.where('preservation')}) puts `{name}` in its place in every caption",
            "trigger: the word that stands in every caption; or train: {preservation: null}",
        )
    elif spec.trigger in name:
        text = f"`{name}` holds the trigger `{spec.trigger}`, so what is to be learned would be kept from changing"
        yield Finding(where, text, "what the trigger is one of: person, woman, car")
    if not name.strip():
        yield Finding(where, "is blank", "what the trigger is one of: person, woman, car")
    if preservation.every is not None and preservation.probability is not None:
        text = "stands beside `every`; batches are either counted or drawn"
        yield Finding(expert.where("preservation", "probability"), text, "keep one of them")


def _options(expert: Expert, spec: Spec) -> Iterator[Finding]:
    for name, value in expert.options.items():
        where = expert.where_option(name)
        if name in ("resume", "resume_from_huggingface") and value:
            if spec.trainer == "extension":
                text = "is musubi's way, which counts from 0 again; the training goes on from its own states by itself"
                yield Finding(where, text, "remove it, or trainer: plain")
            elif name == "resume":
                text = "musubi loads weights and optimizer, but counts, names and schedule start again at 0"  # TB:1922
                yield Finding(where, text, level="warning")
        elif name in ("sample_prompts", "save_state_on_train_end") and value and spec.parallel == "ddp":
            text = "does not go with parallel: ddp, whose processes could not be stopped together meanwhile"
            yield Finding(where, text, "remove it, or parallel: experts")
        elif name.startswith("ddp_") and value not in (None, False) and spec.parallel != "ddp":
            yield Finding(where, "does nothing: a training here is a single process", "remove it", level="warning")
