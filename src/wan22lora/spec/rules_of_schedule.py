"""Optimizers and schedulers that musubi does not know, and settings that they leave unread.

musubi meets a wrong name only after it has loaded the expert. TB is training/trainer_base.py at v0.3.4.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.musubi.environment import TORCH_OPTIMIZERS
from wan22lora.musubi.pins import Pin
from wan22lora.spec.resolved import Expert

MINIMUM_LR_RATIO_SCHEDULERS = ("cosine_with_min_lr", "warmup_stable_decay", "rex")
CYCLES = ("cosine_with_restarts", "cosine_with_min_lr", "warmup_stable_decay")
SCHEDULERS = (
    *("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr"),
    *("polynomial", "inverse_sqrt", "warmup_stable_decay", "rex", "piecewise_constant"),
)
"""What get_lr_scheduler carries to an end (TB:279-429); transformers knows two more, whose arguments musubi lacks."""
OWN_OPTIMIZERS = ("adamw", "adamw8bit", "adafactor")
"""musubi's own, in any case of letters; another name without a dot is a class of torch.optim, letter by letter."""


def broken_by_schedule(expert: Expert, pin: Pin) -> Iterator[Finding]:
    """What an expert's optimizer and scheduler break."""
    yield from _optimizer(expert)
    yield from _scheduler(expert, pin)
    yield from _parts_of_the_scheduler(expert)


def _optimizer(expert: Expert) -> Iterator[Finding]:
    name = expert.settings.optimizer
    if name is None or "." in name:
        return
    if name.lower() not in OWN_OPTIMIZERS and name not in TORCH_OPTIMIZERS:
        fix = _did_you_mean(name, (*TORCH_OPTIMIZERS, *OWN_OPTIMIZERS))
        text = f"`{name}` is none of musubi's nor of torch.optim, and musubi would find out after loading the model"
        yield Finding(expert.where("optimizer"), text, fix or "the full name of a class, such as prodigyopt.Prodigy")
    relative = (expert.settings.optimizer_args or {}).get("relative_step", True)
    if name.lower() == "adafactor" and relative and (expert.settings.lr_scheduler or "constant") != "constant":
        yield Finding(
            expert.where("lr_scheduler"),
            "is replaced by adafactor's own schedule unless relative_step is off",  # TB:198-209
            "train: {optimizer_args: {relative_step: false}}, or lr_scheduler: constant",
        )


def _scheduler(expert: Expert, pin: Pin) -> Iterator[Finding]:
    settings = expert.settings
    name = settings.lr_scheduler
    if name is None or expert.options.get("lr_scheduler_type"):
        return
    where, given = expert.where("lr_scheduler"), settings.lr_scheduler_args or {}
    if name not in SCHEDULERS:
        text = f"`{name}` is no scheduler that musubi can run, and it would find out after loading the model"
        yield Finding(where, text, _did_you_mean(name, SCHEDULERS) or ", ".join(SCHEDULERS))
    elif name == "rex" and pin.name == "article":
        yield Finding(where, "`rex` exists at v0.3.4 but not at article", "pin: v0.3.4, or lr_scheduler: cosine")
    elif name == "piecewise_constant" and "step_rules" not in given:
        fix = 'lr_scheduler_args: {step_rules: "1:500,0.1"}'
        yield Finding(where, "`piecewise_constant` stops musubi without step_rules", fix)
    elif name == "cosine_with_min_lr" and settings.lr_scheduler_min_lr_ratio is None and "min_lr" not in given:
        text = "`cosine_with_min_lr` stops musubi without a lowest learning rate"
        yield Finding(where, text, "lr_scheduler_min_lr_ratio: 0.1")


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    bare = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower().replace("-", "_"), bare, n=1, cutoff=0.72)
    return f"did you mean `{bare[near[0]]}`?" if near else ""


def _parts_of_the_scheduler(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    scheduler = settings.lr_scheduler or "constant"
    ratio = settings.lr_scheduler_min_lr_ratio
    if ratio is not None and scheduler not in MINIMUM_LR_RATIO_SCHEDULERS:
        published = expert.from_preset_that_reproduces("lr_scheduler_min_lr_ratio")
        if published:
            yield Finding(
                expert.where("lr_scheduler_min_lr_ratio"),
                f"does nothing with `{scheduler}` in musubi; it is passed because {published} passes it",
                level="warning",
            )
        else:
            yield Finding(
                expert.where("lr_scheduler_min_lr_ratio"),
                f"does nothing with `lr_scheduler: {scheduler}` in musubi",  # TB:381-388
                "remove it; for polynomial write lr_scheduler_args: {lr_end: 1.0e-5}",
            )
    if settings.lr_scheduler_power is not None and scheduler != "polynomial":
        yield Finding(expert.where("lr_scheduler_power"), f"is ignored by `lr_scheduler: {scheduler}`", "remove it")
    if settings.lr_scheduler_num_cycles is not None and scheduler not in CYCLES:
        yield Finding(
            expert.where("lr_scheduler_num_cycles"), f"is ignored by `lr_scheduler: {scheduler}`", "remove it"
        )
    if settings.lr_warmup_steps and scheduler == "piecewise_constant":
        yield Finding(expert.where("lr_warmup_steps"), "is ignored by `lr_scheduler: piecewise_constant`", "remove it")
    if settings.lr_warmup_steps and scheduler == "constant":
        yield Finding(
            expert.where("lr_warmup_steps"),
            "stops musubi with `lr_scheduler: constant`",
            "lr_scheduler: constant_with_warmup",
        )
    if settings.lr_decay_steps is not None and scheduler != "warmup_stable_decay":
        yield Finding(expert.where("lr_decay_steps"), f"is ignored by `lr_scheduler: {scheduler}`", "remove it")
    if (settings.optimizer or "").lower().endswith("schedulefree") and scheduler != "constant":
        yield Finding(
            expert.where("optimizer"),
            # such optimizers are told apart in TB:279-429
            f"{settings.optimizer} brings its own schedule; `lr_scheduler: {scheduler}` would be bypassed",
            "lr_scheduler: constant",
        )
