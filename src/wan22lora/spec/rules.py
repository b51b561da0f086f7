"""Combinations that musubi accepts and that cost a night: each is refused here, with the reason.

Facts are musubi's at v0.3.4; TB stands for training/trainer_base.py and PC for training/parser_common.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wan22lora.errors import Finding
from wan22lora.musubi.options import text as number_text
from wan22lora.spec.document import Document
from wan22lora.spec.resolved import Expert, Spec
from wan22lora.spec.rules_of_dataset import broken_by_dataset
from wan22lora.spec.rules_of_run import broken_by_run
from wan22lora.spec.rules_of_schedule import broken_by_schedule
from wan22lora.spec.rules_of_trainer import broken_by_trainer
from wan22lora.spec.tasks import Task

_ARTICLES_RATES = (2e-4, 3e-4)
"""The learning rates that the person article and the WAN 2.1 and 2.2 articles train adamw with."""


def broken_rules(spec: Spec, document: Document) -> list[Finding]:
    """Every rule that the run breaks; those that hold for both experts are told once."""
    found: list[Finding] = []
    for expert in spec.experts:
        for rule in EXPERT_RULES:
            found.extend(rule(expert))
        found.extend(broken_by_schedule(expert, spec.pin))
        found.extend(_timestep_range(expert, spec.task))
    for dataset in spec.datasets:
        found.extend(broken_by_dataset(dataset))
    found.extend(broken_by_run(spec, document))
    found.extend(broken_by_trainer(spec))
    return list(dict.fromkeys(found))


def _needed(expert: Expert) -> Iterator[Finding]:
    reasons = {
        "optimizer": "musubi loads the 28 GB model and then fails without one (adamw, adamw8bit, …)",
        "learning_rate": "musubi would take 2e-6, which teaches nothing in a usual run",
        "rank": "musubi would take 4",
        "timestep_sampling": "musubi would take `sigma`, which turns the timestep range upside down",
        "mixed_precision": "it must be the weights' own format (fp16 for the released Wan 2.2 files)",
    }
    for key, reason in reasons.items():
        if getattr(expert.settings, key) is None:
            yield Finding(expert.where(key), f"is missing: {reason}", "a preset sets it: preset: style")


def _length(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    if settings.epochs is None and settings.steps is None:
        yield Finding(expert.where("epochs"), "is missing: say how long to train", "epochs: 100, or steps: 3000")
    if settings.epochs is not None and settings.steps is not None:
        yield Finding(
            expert.where("steps"),
            "stands beside `epochs`, and musubi would ignore the steps",  # PC
            "keep one of them",
        )


def _learning_rate(expert: Expert) -> Iterator[Finding]:
    """A zero too many or too few. Prodigy and its like are right with 1, so only adamw is judged."""
    rate, (lowest, highest) = expert.settings.learning_rate, _ARTICLES_RATES
    if rate is None or (expert.settings.optimizer or "").lower() not in ("adamw", "adamw8bit"):
        return
    if rate > 30 * highest or rate < lowest / 100:
        text = f"is {number_text(rate)}; the articles train adamw with {number_text(lowest)} to {number_text(highest)}"
        yield Finding(expert.where("learning_rate"), text, "is that meant?", level="warning")


def _alpha(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    if settings.alpha == 1 and settings.rank is not None and settings.rank > 1:
        yield Finding(
            expert.where("alpha"),
            f"1 with rank {settings.rank} shrinks every update to 1/{settings.rank}: the LoRA would seem to do nothing",
            f"leave it out (alpha follows the rank) or write alpha: {settings.rank}",
        )


def _sampling(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    sampling = settings.timestep_sampling
    if settings.timestep_shift is not None and sampling not in (None, "shift"):
        yield Finding(
            expert.where("timestep_shift"),
            f"is ignored by `timestep_sampling: {sampling}`",  # TB:578-613
            "remove it, or use timestep_sampling: shift",
        )
    if settings.sigmoid_scale is not None and sampling not in (None, "shift", "sigmoid"):
        yield Finding(expert.where("sigmoid_scale"), f"is ignored by `timestep_sampling: {sampling}`", "remove it")


def _precision(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    if settings.fp8_scaled and not settings.fp8_base:
        yield Finding(expert.where("fp8_scaled"), "stops musubi without fp8_base", "fp8_base: true")  # TB:1398
    if settings.gradient_checkpointing_cpu_offload and not settings.gradient_checkpointing:
        yield Finding(
            expert.where("gradient_checkpointing_cpu_offload"),
            "does nothing without gradient_checkpointing",
            "gradient_checkpointing: true",
        )


def _checkpoints(expert: Expert) -> Iterator[Finding]:
    settings = expert.settings
    for kept, every in (("keep_last_epochs", "save_every_epochs"), ("keep_last_steps", "save_every_steps")):
        if getattr(settings, kept) is not None and getattr(settings, every) is None:
            yield Finding(expert.where(kept), f"does nothing without {every}", f"{every}: …")


def _arguments(expert: Expert) -> Iterator[Finding]:
    for key in ("optimizer_args", "lr_scheduler_args", "network_args"):
        for name, value in (getattr(expert.settings, key) or {}).items():
            if "=" in name or "=" in str(value):
                yield Finding(
                    expert.where(key),
                    f"`{name}: {value}` holds a `=`, at which musubi cuts",  # TB:172,304,1563
                    "none",
                )


def _options(expert: Expert) -> Iterator[Finding]:
    refused = {
        "dit_high_noise": "trains ONE LoRA for both experts (joint mode), not a pair; here each expert is trained by "
        "itself",
        "timestep_boundary": "belongs to joint mode; each expert has its own timestep_range here",
        "offload_inactive_dit": "belongs to joint mode",
        "dim_from_weights": "crashes musubi: it opens a file called True",  # TB:1566
        "config_file": "hides options from every check here: musubi's TOML takes any misspelt key",  # PC:780-811
        "huggingface_token": "would put the token into the process list and the logs; set HF_TOKEN instead",
        "wandb_api_key": "would put the key into the process list and the logs; set WANDB_API_KEY instead",
        "sage_attn": "cannot train",  # TB:1400
        "no_metadata": "would leave files that nobody can tell apart, and this program checks the metadata",
        "show_timesteps": "shows a chart and trains nothing",
    }
    for name, value in expert.options.items():
        where = expert.where_option(name)
        if name in refused and value not in (None, False):
            yield Finding(where, refused[name], "remove it")
        elif name in ("sample_every_n_steps", "sample_every_n_epochs") and value == 0:
            yield Finding(where, "0 stops musubi with a division by zero", "remove it")
        elif name == "block_swap_h2d_only" and value and not expert.settings.gradient_checkpointing:
            yield Finding(where, "needs gradient_checkpointing", "train.gradient_checkpointing: true")
        elif name == "persistent_data_loader_workers" and value and expert.settings.data_loader_workers == 0:
            yield Finding(where, "stops torch when there are no data-loader workers", "train.data_loader_workers: 2")


EXPERT_RULES: tuple[Callable[[Expert], Iterator[Finding]], ...] = (
    _needed,
    _length,
    _learning_rate,
    _alpha,
    _sampling,
    _precision,
    _checkpoints,
    _arguments,
    _options,
)


def _timestep_range(expert: Expert, task: Task) -> Iterator[Finding]:
    wanted = expert.settings.timestep_range
    where, own = expert.where("timestep_range"), task.timestep_range(expert.name)
    if wanted is None:
        if own is not None:
            text = f"is missing: {task.name}'s experts would train timesteps at which they are never used"
            yield Finding(where, text, "remove the null; each expert has its range by the task")
        return
    low, high = wanted
    if not 0 <= low < high <= 1000:
        yield Finding(where, f"[{low}, {high}] must rise and lie within 0 and 1000", "[875, 1000]")
        return
    if own is not None and (high <= own[0] or low >= own[1]):
        yield Finding(
            where,
            f"[{low}, {high}] lies outside {own[0]}-{own[1]}, where the {expert.name}-noise expert of {task.name} "
            "works: what it learned would never be used",
            f"[{own[0]}, {own[1]}], or leave it out",
        )
